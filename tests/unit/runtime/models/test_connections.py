"""What a provider does with a connection, beside what it says over it."""

import asyncio
import contextlib
import datetime as dt
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.fast_lane.client import FastLaneClient
from bulkhead_runtime.models.fast_lane.connection import MAX_HEAD_BYTES, MAX_HELD_BYTES
from bulkhead_runtime.models.fast_lane.pool import trust
from bulkhead_runtime.models.port import Meter, TextDelta
from tests.support.deadline import until
from tests.unit.runtime.models.conftest import MakeClient, request

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Answer = Callable[[Writer], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
WORD = b'data: {"choices":[{"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


WHOLE = CHUNKED + chunk(WORD) + chunk(DONE) + b"0\r\n\r\n"


@contextlib.asynccontextmanager
async def provider(
    answer: bytes | Answer, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[int]]]:
    """Serve one answer to every request; yields the base URL and each connection's requests."""
    requests: list[int] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        number = len(requests)
        requests.append(0)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                (length,) = re.findall(rb"Content-Length: (\d+)", head)
                await reader.readexactly(int(length))
                requests[number] += 1
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    await answer(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    scheme = "https" if tls is not None else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", requests
    finally:
        server.close()


async def said(client: FastLaneClient) -> str:
    parts = [part async for part in client.stream(request("up/m"), Meter())]
    return "".join(part.text for part in parts if isinstance(part, TextDelta))


async def refusal(client: FastLaneClient) -> ModelError:
    with pytest.raises(ModelError) as failed:
        await said(client)
    return failed.value


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(WHOLE, id="in chunks"),
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + WHOLE, id="after a word in between"
        ),
        pytest.param(
            OK + b"Content-Length: %d\r\n\r\n" % len(WORD + DONE) + WORD + DONE, id="of a length"
        ),
    ],
)
async def test_an_answer_leaves_a_connection_for_the_next(
    make_client: MakeClient, answer: bytes
) -> None:
    async with provider(answer) as (base_url, requests):
        client = make_client(base_url=base_url)
        assert [await said(client), await said(client)] == ["Hello", "Hello"]
    assert requests == [2]


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(OK + b"\r\n", id="because it has no length"),
        pytest.param(OK.replace(b"1.1", b"1.0") + b"\r\n", id="after an older protocol"),
    ],
)
async def test_an_answer_may_end_with_its_connection(make_client: MakeClient, head: bytes) -> None:
    async def answer(writer: Writer) -> None:
        writer.write(head + WORD)
        await writer.drain()
        writer.close()

    async with provider(answer) as (base_url, requests):
        client = make_client(base_url=base_url)
        assert [await said(client), await said(client)] == ["Hello", "Hello"]
    assert requests == [1, 1]


async def test_a_connection_that_is_about_to_end_is_not_kept(make_client: MakeClient) -> None:
    answer = WHOLE.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    async with provider(answer) as (base_url, requests):
        client = make_client(base_url=base_url)
        assert [await said(client), await said(client)] == ["Hello", "Hello"]
    assert requests == [1, 1]


async def test_an_answer_that_is_cut_is_no_answer(make_client: MakeClient) -> None:
    async def answer(writer: Writer) -> None:
        writer.write(OK + b"Content-Length: 1000\r\n\r\n" + WORD.replace(b'"stop"', b"null"))
        await writer.drain()
        writer.close()

    async with provider(answer) as (base_url, _):
        failed = await refusal(make_client(base_url=base_url))
    assert failed.kind == "unavailable"
    assert "the connection broke" in failed.message


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", id="another answer"),
        pytest.param(b"\x00\x01", id="noise"),
    ],
)
async def test_what_nobody_asked_for_is_no_next_answer(
    make_client: MakeClient, after: bytes
) -> None:
    async with provider(WHOLE + after) as (base_url, requests):
        client = make_client(base_url=base_url)
        assert [await said(client), await said(client)] == ["Hello", "Hello"]
    assert requests == [1, 1]


async def test_a_connection_is_kept_when_the_end_comes_a_moment_after_the_last_event(
    make_client: MakeClient,
) -> None:
    async def answer(writer: Writer) -> None:
        writer.write(CHUNKED + chunk(WORD) + chunk(DONE))
        asyncio.get_running_loop().call_later(0.02, writer.write, b"0\r\n\r\n")

    async with provider(answer) as (base_url, requests):
        client = make_client(base_url=base_url)
        assert [await said(client), await said(client)] == ["Hello", "Hello"]
    assert requests == [2]


async def test_a_connection_whose_end_does_not_come_is_closed(make_client: MakeClient) -> None:
    async with provider(CHUNKED + chunk(WORD) + chunk(DONE)) as (base_url, requests):
        client = make_client(base_url=base_url)
        assert [await said(client), await said(client)] == ["Hello", "Hello"]
    assert requests == [1, 1]


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        pytest.param(b"220 mail.example ESMTP\r\n", "sent what is no HTTP", id="another protocol"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x16", "sent what is no HTTP", id="TLS"),
        pytest.param(
            OK + b"X-Filler: " + b"a" * MAX_HEAD_BYTES, "sent what is no HTTP", id="endless headers"
        ),
        pytest.param(
            CHUNKED + b"not a length\r\n", "sent what is no HTTP", id="chunks without a length"
        ),
        pytest.param(
            OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
            "gzip of text/event-stream instead of",
            id="what is compressed though nobody asked for it",
        ),
    ],
)
async def test_what_is_no_event_stream_is_garbage(
    make_client: MakeClient, answer: bytes, hint: str
) -> None:
    async with provider(answer) as (base_url, _):
        failed = await refusal(make_client(base_url=base_url))
    assert failed.kind == "garbage"
    assert hint in failed.message


async def test_a_provider_waits_while_nobody_reads(make_client: MakeClient) -> None:
    filler = chunk(b": " + b"." * 16_000 + b"\n\n")
    sent = 0

    async def answer(writer: Writer) -> None:
        nonlocal sent
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(CHUNKED + chunk(WORD.replace(b'"stop"', b"null")))
        for _ in range(2_000):
            writer.write(filler)
            await writer.drain()
            sent += len(filler)
        writer.write(chunk(WORD) + chunk(DONE) + b"0\r\n\r\n")

    async with provider(answer) as (base_url, _):
        stream = make_client(base_url=base_url).stream(request("up/m"), Meter())
        assert await anext(stream) == TextDelta("Hello")
        seen = -1

        async def waits() -> bool:
            nonlocal seen
            before, seen = seen, sent
            return before == sent

        await until(waits, "the provider waits, having filled the sockets between")
        assert sent < 2_000 * len(filler)
        rest = [part async for part in stream if isinstance(part, TextDelta)]
    assert rest == [TextDelta("Hello")]
    assert sent == 2_000 * len(filler) > 16 * MAX_HELD_BYTES


async def test_what_the_system_trusts_is_trusted(
    make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with provider(WHOLE, tls=_certificate(tmp_path)) as (base_url, requests):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "provider.pem"))
        trust.cache_clear()
        client = make_client(base_url=base_url)
        assert [await said(client), await said(client)] == ["Hello", "Hello"]
    trust.cache_clear()
    assert requests == [2]


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(
    make_client: MakeClient, tmp_path: Path
) -> None:
    async with provider(WHOLE, tls=_certificate(tmp_path)) as (base_url, requests):
        failed = await refusal(make_client(base_url=base_url))
    assert "its TLS certificate is not trusted" in failed.message
    assert sum(requests) == 0


def _certificate(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = folder / "provider.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
