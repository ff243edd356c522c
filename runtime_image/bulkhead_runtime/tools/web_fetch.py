"""The built-in tool that reads a public web page."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from yarl import URL

from bulkhead_api.v1alpha1.tools import WebFetch
from bulkhead_runtime.policy.patterns import Patterns
from bulkhead_runtime.tools.errors import ToolError, TransientError
from bulkhead_runtime.tools.port import Tool, ToolContext
from bulkhead_runtime.tools.web.charsets import decode
from bulkhead_runtime.tools.web.client import Answer, GuardedClient, is_transient
from bulkhead_runtime.tools.web.targets import MAX_URL_CHARACTERS, check_host, parse_target
from bulkhead_runtime.tools.web.text import page_text, page_title

MAX_REDIRECTS: Final = 5
MAX_PAGE_CHARACTERS: Final = 1_048_576
"""What is searched for text; a megabyte of the worst markup takes a second."""

MAX_TEXT_CHARACTERS: Final = 15_000
"""Of one answer, so that a page never fills a model's context; the rest is read by `start`."""

MAX_PEER_CHARACTERS: Final = 256

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ACCEPT: Final = "text/html, text/*;q=0.9, application/json;q=0.9, application/xml;q=0.8"
_TEXT_TYPES: Final = frozenset(
    {"application/json", "application/xml", "application/xhtml+xml", "application/javascript"}
)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})

_PARAMETERS: Final = {
    "type": "object",
    "properties": {
        "url": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_URL_CHARACTERS,
            "description": "Address of the page, for example https://example.com/news.",
        },
        "start": {
            "type": "integer",
            "minimum": 0,
            "maximum": MAX_PAGE_CHARACTERS,
            "description": "Character to read from, to continue a text that was cut off.",
        },
    },
    "required": ["url"],
    "additionalProperties": False,
}


def web_fetch_tool(client: GuardedClient, settings: WebFetch) -> Tool:
    """Return the tool that reads pages within what the organization allows."""
    hosts = Patterns(map(str.lower, settings.allowed_hosts)) if settings.allowed_hosts else None

    async def fetch(arguments: Mapping[str, Any], _context: ToolContext) -> dict[str, Any]:
        url, answer = await _follow(client, str(arguments["url"]), hosts, settings.max_bytes)
        page = await asyncio.to_thread(_readable, answer)
        return {"url": str(url), **_window(page, int(arguments.get("start", 0)))}

    return Tool(
        name="web_fetch",
        description="Reads a public web page and returns its text.",
        parameters=_PARAMETERS,
        risk="medium",
        handler=fetch,
        timeout_seconds=settings.timeout_seconds,
        source="web",
        idempotent=True,
        peer_of=_peer,
    )


def _peer(arguments: Mapping[str, Any]) -> str:
    """Return the host of the page: one that is down says nothing of the others."""
    return f"web:{parse_target(str(arguments['url'])).raw_host}"[:MAX_PEER_CHARACTERS]


async def _follow(
    client: GuardedClient, text: str, hosts: Patterns | None, max_bytes: int
) -> tuple[URL, Answer]:
    """Return the page after its redirects, each of which is checked like the first address."""
    url = parse_target(text)
    for _ in range(MAX_REDIRECTS + 1):
        check_host(url, hosts)
        answer = await client.request("GET", url, max_bytes=max_bytes, headers={"Accept": _ACCEPT})
        location = answer.headers.get("Location")
        if answer.status not in _REDIRECTS or location is None:
            _check(answer)
            return url, answer
        url = _redirected(url, location)
    raise ToolError("bad_answer", f"The page redirects more than {MAX_REDIRECTS} times.")


def _redirected(url: URL, location: str) -> URL:
    try:
        joined = str(url.join(URL(location)))
    except ValueError:
        raise ToolError("bad_answer", "The page redirects to what is no address.") from None
    return parse_target(joined)


def _check(answer: Answer) -> None:
    status, media_type = answer.status, answer.media_type
    if is_transient(status):
        raise TransientError("http_error", f"The page answers with status {status} for now.")
    if not 200 <= status < 300:  # noqa: PLR2004 (success in HTTP)
        raise ToolError("http_error", f"The page answers with status {status}.")
    readable = media_type.startswith("text/") or media_type in _TEXT_TYPES
    if not readable and not media_type.endswith(("+json", "+xml")):
        raise ToolError(
            "unsupported_media_type", f"The page is {media_type[:64] or 'untyped'!r}, not text."
        )


def _readable(answer: Answer) -> dict[str, str]:
    decoded = decode(answer.body, answer.headers.get("Content-Type", ""))
    text = _CONTROLS.sub("", decoded[:MAX_PAGE_CHARACTERS])
    if answer.media_type in _HTML_TYPES:
        return {"title": page_title(text), "text": page_text(text)}
    return {"title": "", "text": text}


def _window(page: Mapping[str, str], start: int) -> dict[str, Any]:
    text = page["text"]
    end = start + MAX_TEXT_CHARACTERS
    window: dict[str, Any] = {"title": page["title"], "text": text[start:end]}
    if end < len(text):
        window["continues_at"] = end
    return window
