"""No client holds a connection by being slow, whether in asking or in reading."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from bulkhead_api.runtime_config import ProviderConfig
from tests.support.runtime_process import KEY, RuntimeFiles, RuntimeProcess, document
from tests.support.stub_provider import StubProvider

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
MOST_SECONDS = 180.0
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
AUTHORIZED = f"Authorization: Bearer {KEY}\r\n".encode()
ENDLESS = json.dumps(
    {
        "model": "stub/endless",
        "messages": [{"role": "user", "content": "x"}],
        "stream": True,
        "max_tokens": 50_000,
    }
).encode()


@pytest.fixture
def runtime(files: RuntimeFiles, provider: StubProvider) -> Iterator[RuntimeProcess]:
    stub = ProviderConfig(name="stub", type="OpenAICompatible", base_url=provider.base_url)
    files.follow((document(), 100), providers=(stub,))
    with RuntimeProcess(files) as process:
        yield process


async def _connection(runtime: RuntimeProcess) -> Connection:
    """Return a connection whose client takes little at once."""
    taking = socket.socket()
    taking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    taking.connect(("127.0.0.1", runtime.port))
    return await asyncio.open_connection(sock=taking, limit=4096)


async def _heard(runtime: RuntimeProcess, said: bytes) -> bytes:
    """Return all that is answered until the other side ends the connection."""
    reader, writer = await _connection(runtime)
    writer.write(said)
    heard = await reader.read()
    writer.close()
    return heard


async def _told(runtime: RuntimeProcess, said: bytes, word: bytes) -> bytes:
    """Return what is answered up to this word."""
    reader, writer = await _connection(runtime)
    writer.write(said)
    heard = await reader.readuntil(word)
    writer.close()
    return heard


async def _heard_in_the_middle(runtime: RuntimeProcess, said: bytes, more: bytes) -> bytes:
    """As `_heard`, for who says more when the answer is there."""
    reader, writer = await _connection(runtime)
    writer.write(said)
    heard = await reader.readuntil(b"\r\n\r\n")
    writer.write(more)
    with suppress(ConnectionResetError):
        while chunk := await reader.read(4096):
            heard += chunk
    writer.close()
    return heard


async def _unread(runtime: RuntimeProcess, provider: StubProvider) -> bool:
    """Tell whether an answer that nobody reads is given up."""
    _, writer = await _connection(runtime)
    writer.write(POST + AUTHORIZED + b"Content-Length: %d\r\n\r\n" % len(ENDLESS) + ENDLESS)
    given_up = await provider.cancelled(seconds=MOST_SECONDS)
    writer.close()
    return given_up


async def test_no_client_holds_a_connection_by_being_slow(
    runtime: RuntimeProcess, provider: StubProvider
) -> None:
    provider.forget()
    unfinished = POST + b"Content-Length: 1000\r\n"
    async with asyncio.timeout(MOST_SECONDS):
        silent, head, body, early, unread = await asyncio.gather(
            _heard(runtime, b""),
            _heard(runtime, POST),
            _told(runtime, unfinished + AUTHORIZED + b"\r\n{", b"body_timeout"),
            _heard_in_the_middle(runtime, unfinished + b"\r\n{", b" "),
            _unread(runtime, provider),
        )
    assert silent.startswith(b"HTTP/1.1 408 ")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert body.startswith(b"HTTP/1.1 408 ")
    assert early.startswith(b"HTTP/1.1 401 ")
    assert unread
