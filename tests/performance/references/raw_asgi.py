"""The least that answers a POST: plain ASGI behind the same server, with nothing in between."""

from typing import Any

_ANSWER = b'{"ok":true,"data":{"time":"2026-01-01T00:00:00Z"}}'
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_ANSWER)).encode()),
]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the body and answer."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        continue
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _ANSWER})
