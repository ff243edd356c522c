"""An MCP server that means harm: speaks just enough of the protocol to be listened to.

`mode` says how it hurts; it is served on a thread.
"""

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

_VERSION = "2026-07-28"


def _tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "description": "x", "inputSchema": {"type": "object"}, **fields}


@dataclass
class HostileMcp:
    """The application; `lists` counts how often it was asked for its tools, `shown` is a token."""

    url: str = ""
    mode: str = ""
    lists: int = 0
    shown: str = ""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = json.loads((await receive()).get("body") or b"{}")
        self.shown = dict(scope["headers"]).get(b"authorization", b"").decode()
        match self.mode:
            case "garbage":
                await _send(send, 200, b"<html>")
            case "flood":
                await _flood(send)
            case "packed":
                await _send(send, 200, gzip.compress(b"{}"), (b"content-encoding", b"gzip"))
            case "500":
                await _send(send, 500, b"Traceback: password=hunter2")
            case "redirect":
                await _send(send, 307, b"", (b"location", b"http://169.254.169.254/"))
            case "hang":
                await asyncio.Event().wait()
            case _:
                await _send(send, 200, json.dumps(self._answer(body)).encode())

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        answer = {"jsonrpc": "2.0", "id": request.get("id")}
        if self.mode == "error":
            return {**answer, "error": {"code": -32000, "message": "no thanks"}}
        if self.mode == "telltale":
            return {**answer, "error": {"code": -32000, "message": f"what is {self.shown}?"}}
        complete = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        if request.get("method") == "server/discover":
            found = {"supportedVersions": [_VERSION], "capabilities": {"tools": {}}}
            return {**answer, "result": {**complete, **found}}
        self.lists += 1
        return {**answer, "result": {**complete, **self._tools()}}

    def _tools(self) -> dict[str, Any]:
        if self.mode == "endless":
            tools = [_tool(f"t{self.lists}_{number}") for number in range(50)]
            return {"tools": tools, "nextCursor": str(self.lists)}
        large = {"type": "object", "description": "x" * 20_000}
        return {
            "tools": [
                _tool("fine", description="y" * 100_000),
                _tool("a name with spaces"),
                _tool("n" * 64),
                _tool("large", inputSchema=large),
                _tool("beyond", inputSchema={"type": "object", "maxProperties": 2**70}),
            ]
        }


async def _send(send: Any, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    kind = (b"content-type", b"application/json")
    await send({"type": "http.response.start", "status": status, "headers": [kind, *headers]})
    await send({"type": "http.response.body", "body": body})


async def _flood(send: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(1_000):
        await send({"type": "http.response.body", "body": b" " * 65_536, "more_body": True})


@contextmanager
def hostile_mcp() -> Iterator[HostileMcp]:
    """Serve on a free port, on a thread of its own."""
    hostile = HostileMcp()
    listener = socket.create_server(("127.0.0.1", 0))
    hostile.url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    server = uvicorn.Server(
        uvicorn.Config(hostile, log_level="critical", lifespan="off", timeout_graceful_shutdown=0)
    )
    thread = threading.Thread(
        target=asyncio.run, args=(server.serve(sockets=[listener]),), daemon=True
    )
    thread.start()
    try:
        yield hostile
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join()
        listener.close()
