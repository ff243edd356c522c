"""What a connection may send before there is a request to judge."""

import json
import socket
from collections.abc import Iterator
from typing import Any

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


def test_one_byte_too_many_is_told_as_a_problem(runtime: RuntimeProcess) -> None:
    said = _exchange(runtime, b"GET /" + b"a" * (MAX_HEAD_BYTES - 4))
    assert said.startswith(b"HTTP/1.1 431 ")
    assert _problem(said)["code"] == "headers_too_large"


def _problem(said: bytes) -> dict[str, Any]:
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    problem: dict[str, Any] = json.loads(body)
    assert str(problem["status"]).encode() in head.partition(b"\r\n")[0]
    return problem


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
        said = _exchange(runtime, noise)
        assert said.startswith(b"HTTP/1.1 400 ")
        assert _problem(said)["code"] == "malformed_request"


def test_noise_does_not_fill_the_log(runtime: RuntimeProcess) -> None:
    for _ in range(50):
        assert _exchange(runtime, b"\x00noise\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert [line["level"] for line in runtime.logs() if "Invalid" in line["event"]] == ["warning"]
