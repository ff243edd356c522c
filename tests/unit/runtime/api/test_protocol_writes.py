"""What goes out together, and who hears that a client left."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.server import ServerState

from bulkhead_runtime.api.exchange import ClientGoneError, Exchange
from bulkhead_runtime.api.protocol import BoundedProtocol

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
ON_EVERY_ANSWER = [b"content-length", b"content-type", b"date", b"traceparent", b"x-request-id"]
Handler = Callable[[Exchange], Awaitable[None]]


class Socket(asyncio.Transport):
    """Keeps what is written to it, as one piece for each write."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.reads = True

    def write(self, data: Any) -> None:
        self.pieces.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.pieces.append(b"closed")

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Client:
    """A client of one handler, and its connection."""

    def __init__(self, handler: Handler) -> None:
        self.socket = Socket()
        self.ended: asyncio.Queue[BaseException | None] = asyncio.Queue()
        self._handler = handler
        config = uvicorn.Config(self._serve, interface="asgi3", ws="none", log_config=None)
        config.load()
        self.protocol = BoundedProtocol(config, ServerState(), {})
        self.protocol.connection_made(self.socket)

    async def ask(self, request: bytes = REQUEST) -> list[bytes]:
        """Send a request and return what was written until its handler ended."""
        self.protocol.data_received(request)
        error = await asyncio.wait_for(self.ended.get(), 30)
        assert error is None
        pieces, self.socket.pieces = self.socket.pieces, []
        return pieces

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        exchange = Exchange(scope, receive, send, close=False, count=lambda *_: None)
        try:
            await self._handler(exchange)
        except ClientGoneError as error:
            self.ended.put_nowait(error)
        else:
            self.ended.put_nowait(None)


async def _round() -> None:
    """Return when the loop has come round."""
    came = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(came.set_result, None)
    await came


async def test_an_answer_goes_out_whole() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.respond(200, await exchange.read_json(10), headers=None)

    client = Client(answer)
    for _ in range(2):
        (whole,) = await client.ask()
        assert whole.startswith(b"HTTP/1.1 200 OK\r\n")
        assert whole.endswith(b"\r\n\r\n{}")


async def test_a_stream_begins_with_its_first_words_and_ends_with_its_last() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.start_events(b"first")
        await _round()
        await exchange.write(b"second")
        await exchange.write(b"third", held=True)
        await exchange.finish()

    first, second, third = await Client(answer).ask()
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.endswith(b"\r\n\r\n5\r\nfirst\r\n")
    told = dict(_headers(first))
    assert told[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert (told[b"cache-control"], told[b"x-accel-buffering"]) == (b"no-cache", b"no")
    assert second == b"6\r\nsecond\r\n"
    assert third == b"5\r\nthird\r\n0\r\n\r\n"


async def _two_bytes(exchange: Exchange) -> None:
    await exchange.respond(200, await exchange.read_json(10), headers=None)


def _headers(answer: bytes) -> list[tuple[bytes, bytes]]:
    """Return what an answer's head says, as any parser of HTTP reads it."""
    read: list[tuple[bytes, bytes]] = []

    class Reader:
        def on_header(self, name: bytes, value: bytes) -> None:
            read.append((name, value))

    httptools.HttpResponseParser(Reader()).feed_data(answer)
    return read


async def test_every_answer_of_a_connection_has_its_own_headers_once() -> None:
    client = Client(_two_bytes)
    seen = set()
    for _ in range(2):
        (answer,) = await client.ask()
        headers = _headers(answer)
        assert sorted(name for name, _ in headers) == ON_EVERY_ANSWER
        seen.add(dict(headers)[b"x-request-id"])
    assert len(seen) == 2


async def test_a_client_that_waits_to_be_asked_for_its_body_gets_one_whole_head() -> None:
    client = Client(_two_bytes)
    head, body = REQUEST.replace(b"Host", b"Expect: 100-continue\r\nHost").split(b"\r\n\r\n")
    client.protocol.data_received(head + b"\r\n\r\n")
    async with asyncio.timeout(30):
        while not client.socket.pieces:
            await _round()
    assert client.socket.pieces == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    _, answer = await client.ask(body)
    assert sorted(name for name, _ in _headers(answer)) == ON_EVERY_ANSWER


IDS = {
    "too long": b"x" * 129,
    "with a space": b"a b",
    "with a tab": b"a\tb",
    "with a colon": b"a: b",
    "of no ASCII": b"\xff\xfe",
    "empty": b"",
}


@pytest.mark.parametrize("given", IDS.values(), ids=IDS.keys())
async def test_no_text_of_a_client_comes_back_in_a_head_when_its_id_is(given: bytes) -> None:
    headers = b"x-request-id: " + given + b"\r\ntraceparent: " + given + b"\r\nHost"
    (answer,) = await Client(_two_bytes).ask(REQUEST.replace(b"Host", headers))
    told = dict(_headers(answer))
    assert re.fullmatch(rb"req_[0-9a-f]{16}", told[b"x-request-id"])
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01", told[b"traceparent"])


async def test_a_header_that_would_be_two_is_never_written() -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.note((b"bulkhead-budget-warning", b"90 %\r\nset-cookie: a=b"))
        with pytest.raises(RuntimeError, match="Invalid HTTP header value"):
            await exchange.respond(200, b"{}", headers=None)

    assert await Client(answer).ask() == [b"closed"]


async def test_what_is_held_waits_no_longer_than_the_loop_takes_to_come_round() -> None:
    written: list[list[bytes]] = []

    async def answer(exchange: Exchange) -> None:
        await exchange.start_events(b"meta")
        written.append([*client.socket.pieces])
        await _round()
        written.append([*client.socket.pieces])
        await exchange.write(b"words", held=True)
        await _round()
        written.append([*client.socket.pieces])
        await exchange.finish()

    client = Client(answer)
    head, words, end = await client.ask()
    assert written == [[], [head], [head, words]]
    assert head.endswith(b"\r\n\r\n4\r\nmeta\r\n")
    assert (words, end) == (b"5\r\nwords\r\n", b"0\r\n\r\n")


async def test_what_is_held_is_written_before_a_connection_is_closed() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.start_events()
        await exchange.write(b"words", held=True)
        client.protocol.cycle.transport.close()

    client = Client(answer)
    head_and_words, closed, *_ = await client.ask()
    assert head_and_words.endswith(b"words\r\n")
    assert closed == b"closed"


@pytest.mark.parametrize("at", ["before", "during"])
async def test_work_for_a_client_that_left_is_ended(at: str) -> None:
    begun = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        begun.set()
        if at == "before":
            await _round()
        await exchange.until_gone(asyncio.Event().wait())

    client = Client(answer)
    client.protocol.data_received(REQUEST)
    await begun.wait()
    client.protocol.connection_lost(None)
    assert isinstance(await asyncio.wait_for(client.ended.get(), 30), ClientGoneError)


async def test_a_connection_is_read_from_while_its_client_is_worked_for() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.until_gone(look())

    async def look() -> None:
        assert client.socket.reads

    client = Client(answer)
    length = 100_000  # more than uvicorn takes before it stops reading
    request = REQUEST.replace(b": 2", b": %d" % length).replace(b"{}", b"x" * length)
    client.protocol.data_received(request)
    assert await asyncio.wait_for(client.ended.get(), 30) is None


async def test_who_worked_for_a_client_hears_nothing_of_a_later_end() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.until_gone(_round())
        client.protocol.connection_lost(None)
        await _round()

    client = Client(answer)
    client.protocol.data_received(REQUEST)
    assert await asyncio.wait_for(client.ended.get(), 30) is None
