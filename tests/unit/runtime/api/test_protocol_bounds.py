"""What a connection may send before there is a request to judge."""

import socket
from collections.abc import Iterator

import pytest

from bulkhead_runtime.api.protocol import MAX_HEAD_BYTES
from tests.support.runtime_process import KEY, RuntimeFiles, RuntimeProcess, document

_HEAD = f"Host: x\r\nAuthorization: Bearer {KEY}\r\n".encode()


@pytest.fixture
def runtime(files: RuntimeFiles) -> Iterator[RuntimeProcess]:
    files.follow((document(), 100))
    with RuntimeProcess(files) as process:
        yield process


def _exchange(runtime: RuntimeProcess, *parts: bytes) -> bytes:
    """Send parts until the other side has had enough; return all that it said."""
    with socket.create_connection(("127.0.0.1", runtime.port), timeout=30) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            return b"reset"
        said = b""
        try:
            while chunk := connection.recv(65536):
                said += chunk
        except ConnectionResetError:
            said = said or b"reset"
        return said


def test_endless_headers_end_in_a_431_or_a_closed_connection(runtime: RuntimeProcess) -> None:
    header = b"x-filler: " + b"a" * 1000 + b"\r\n"
    said = _exchange(runtime, b"GET /health HTTP/1.1\r\n", *[header] * 5000)
    assert said == b"reset" or said.startswith(b"HTTP/1.1 431 ")


def test_an_endless_path_ends_so_too(runtime: RuntimeProcess) -> None:
    said = _exchange(runtime, b"GET /", *[b"a" * 1000] * 5000)
    assert said == b"reset" or said.startswith(b"HTTP/1.1 431 ")


def test_headers_within_the_bound_are_read_however_they_are_cut(runtime: RuntimeProcess) -> None:
    filler = b"x-filler: " + b"a" * (MAX_HEAD_BYTES - 1000) + b"\r\n"
    head = b"GET /health HTTP/1.1\r\nConnection: close\r\n" + _HEAD + filler + b"\r\n"
    cut = [head[at : at + 4096] for at in range(0, len(head), 4096)]
    assert _exchange(runtime, *cut).startswith(b"HTTP/1.1 200 ")


def test_trailers_are_dropped(runtime: RuntimeProcess) -> None:
    body = b'{"message":"x"}'
    chunked = b"%x\r\n%s\r\n0\r\n" % (len(body), body)
    said = _exchange(
        runtime,
        b"POST /v1/agents/assistant/execute HTTP/1.1\r\nConnection: close\r\n" + _HEAD,
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        chunked + b"X-Org-Id: globex\r\n\r\n",
    )
    assert said.startswith(b"HTTP/1.1 200 ")


def test_what_is_no_http_is_refused(runtime: RuntimeProcess) -> None:
    for noise in (
        b"\x16\x03\x01\x02\x00\x01",
        b"GET \xff HTTP/1.1\r\n\r\n",
        b"\r\n\r\nFOO\r\n\r\n",
    ):
        assert _exchange(runtime, noise).startswith(b"HTTP/1.1 400 ")
