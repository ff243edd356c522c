"""Sends the same POST over and over on kept connections; only the server's CPU is looked at."""

import asyncio
import re
from pathlib import Path

from tests.performance.harness.rounds import MeasurementError

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def post(
    port: int, path: str, body: bytes, *, key_file: Path, count: int, connections: int
) -> None:
    """Send `count` requests; raise MeasurementError for the first answer that is not 200."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key_file.read_text()}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    asyncio.run(_all(port, request, count // connections, connections))


async def _all(port: int, request: bytes, each: int, connections: int) -> None:
    await asyncio.gather(*(_one(port, request, each) for _ in range(connections)))


async def _one(port: int, request: bytes, count: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        answer = await reader.readexactly(int(length[1])) if length else b""
        if not head.startswith(b"HTTP/1.1 200 ") or b'"ok":true' not in answer:
            raise MeasurementError(f"answered {head[:40]!r} {answer[:200]!r}")
    writer.close()
    await writer.wait_closed()
