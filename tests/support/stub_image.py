"""A tenant's image that is not ours: it does what a test tells it, well or badly.

`script` is what it sends for each execution, in order; the last is sent again and again.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]

HELLO: list[Event] = [
    {"type": "text", "text": "Hello "},
    {"type": "text", "text": "there."},
    {"type": "usage", "input_tokens": 3, "output_tokens": 2, "cost": "0.01"},
    {"type": "done", "finish_reason": "stop"},
]


@dataclass
class Answer:
    """One answer: `raw` is sent as it is after the head; `holds` keeps the stream open."""

    events: Sequence[Event] = ()
    status: int = 200
    kind: str = "text/event-stream"
    raw: bytes = b""
    holds: bool = False


@dataclass
class StubImage:
    """What it was asked and what it says; `left` is set when a client goes before the end."""

    port: int = 0
    healthy: bool = True
    script: list[Answer] = field(default_factory=lambda: [Answer(HELLO)])
    requests: list[Event] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("GET /bulkhead/v1/health"):
            status = 200 if self.healthy else 503
            await _send(writer, status, "application/json", b'{"status": "ok"}')
            return
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        self.requests.append(json.loads(await reader.readexactly(int(headers["content-length"]))))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        body = b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in answer.events)
        await _send(writer, answer.status, answer.kind, body + answer.raw)
        if answer.holds:
            await reader.read()
            self.left.set()


async def _send(writer: asyncio.StreamWriter, status: int, kind: str, body: bytes) -> None:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


@asynccontextmanager
async def running() -> AsyncIterator[StubImage]:
    """Serve on a free port inside the test's own event loop."""
    image = StubImage()
    server = await asyncio.start_server(image.serve, "127.0.0.1", 0)
    image.port = server.sockets[0].getsockname()[1]
    async with server:
        yield image
