"""An MCP server that is not ours: the official SDK over streamable HTTP, as a process.

`python -m tests.support.runtime.mcp_server --port N [--token T]`; with a token it lets in nobody
else. It speaks both eras of the protocol. `/stub/token` (POST) changes the token, `/stub/seen`
(GET) tells the headers and methods of the requests so far.
"""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aiohttp
import uvicorn
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp_types import ToolAnnotations

from tests.support.deadline import until
from tests.support.ports import free_port

Seen = list[dict[str, Any]]


def make_server() -> MCPServer:
    server = MCPServer("stub")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    def echo(text: str) -> str:
        """Say the same."""
        return text

    @server.tool()
    async def wait(seconds: float) -> str:
        """Answer after some seconds."""
        await asyncio.sleep(seconds)
        return "waited"

    @server.tool()
    def fail(reason: str) -> str:
        """Fail with a reason."""
        raise RuntimeError(reason)

    @server.tool()
    def big(characters: int) -> str:
        """Return so many characters."""
        return "x" * characters

    @server.tool()
    def picture() -> Image:
        """Return a picture."""
        return Image(data=b"\x89PNG" + bytes(2_000), format="png")

    @server.tool()
    def trace(context: Context) -> str:
        """Tell the trace that the call belongs to."""
        told = context.request_context.meta or {}
        return str(told.get("traceparent"))

    @server.tool(name="a name that no model can say")
    def unusable() -> str:
        """Never be offered."""
        return ""

    return server


class Door:
    """Lets in whoever has the token and remembers what was asked."""

    def __init__(self, app: Any, token: str | None) -> None:
        self._app = app
        self._token = token
        self._seen: Seen = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        if scope["path"] == "/stub/token":
            self._token = (await receive())["body"].decode()
            await _answer(send, 200, {})
        elif scope["path"] == "/stub/seen":
            await _answer(send, 200, self._seen)
        elif self._token and headers.get("authorization") != f"Bearer {self._token}":
            await _answer(send, 401, {"error": "who are you"})
        else:
            self._seen.append({"method": scope["method"], "headers": headers})
            await self._app(scope, receive, send)


async def _answer(send: Any, status: int, body: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


class RunningMcpServer:
    """A server process of a test."""

    def __init__(self, port: int, token: str | None) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/mcp"
        self._token = token
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start, and return when it answers."""
        self._spawn()
        await until(self._answers, "the MCP server answers", seconds=90)

    def _spawn(self) -> None:
        program = [sys.executable, "-m", "tests.support.runtime.mcp_server"]
        arguments = ["--port", str(self.port), "--token", self._token or ""]
        self._process = subprocess.Popen([*program, *arguments], stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        """Kill it, as a machine that goes away does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    async def change_token(self, token: str) -> None:
        """Let in only this token from now on."""
        async with aiohttp.ClientSession() as session:
            await session.post(f"http://127.0.0.1:{self.port}/stub/token", data=token)

    async def seen(self) -> Seen:
        """Return the requests that were let in."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}/stub/seen") as response,
        ):
            seen: Seen = await response.json()
            return seen

    async def _answers(self) -> bool:
        with suppress(aiohttp.ClientError):
            await self.seen()
            return True
        return False


@contextmanager
def mcp_server(token: str | None = None) -> Iterator[RunningMcpServer]:
    """Give a server on a free port, to be started, and end it."""
    server = RunningMcpServer(free_port(), token)
    try:
        yield server
    finally:
        server.stop()


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", default="")
    arguments = parser.parse_args()
    app = Door(make_server().streamable_http_app(), arguments.token or None)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="critical")


if __name__ == "__main__":
    main()
