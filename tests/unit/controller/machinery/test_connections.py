"""The pool of connections against servers that speak HTTP well, late, badly, or not at all."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from bulkhead_operator.cluster.connections import Answer, Connections, NoAnswerError
from tests.support.deadline import until

Say = Callable[[asyncio.StreamWriter], Awaitable[None]]

SECONDS = 60.0
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def says(*pieces: bytes, then_close: bool = False) -> Say:
    async def say(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then_close:
            writer.close()

    return say


class Server:
    """Answers each request with the next of what it was told to say, the last one for ever."""

    def __init__(self) -> None:
        self.sayings: list[Say] = [says(GOOD)]
        self.requests: list[bytes] = []
        self.accepted = 0
        self.at_once = 0
        self._at_work: set[asyncio.Task[None] | None] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._at_work.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                self.requests.append(await self._request(reader))
                say = self.sayings.pop(0) if len(self.sayings) > 1 else self.sayings[0]
                await say(writer)
        writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.partition(b"Content-Length: ")[2].partition(b"\r")[0]
        return head + await reader.readexactly(int(length or 0))

    def stop(self) -> None:
        for task in self._at_work:
            if task is not None:
                task.cancel()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    yield (server := Server())
    server.stop()


@pytest.fixture
async def connections(server: Server) -> AsyncIterator[Connections]:
    listening = await asyncio.start_server(server.accept, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/prefix/"
    pool = Connections(
        url, ssl.create_default_context(), limit=2, headers="User-Agent: test\r\n", longest=1000
    )
    yield pool
    pool.close()
    listening.close()


async def ask(pool: Connections, body: bytes | None = None, *, seconds: float = SECONDS) -> Answer:
    method = "GET" if body is None else "PATCH"
    return await pool.exchange(method, "/a?b=c", "X-One: 1\r\n", body, seconds=seconds)


async def test_a_request_carries_prefix_query_headers_and_body(
    server: Server, connections: Connections
) -> None:
    await ask(connections, b"[1]")
    lines = server.requests[0].split(b"\r\n")
    assert lines[0] == b"PATCH /prefix/a?b=c HTTP/1.1"
    assert {b"User-Agent: test", b"X-One: 1", b"Content-Length: 3"} <= set(lines)
    assert lines[1].startswith(b"Host: 127.0.0.1:")
    assert lines[-1] == b"[1]"


async def test_exchanges_one_after_the_other_share_a_connection(
    server: Server, connections: Connections
) -> None:
    for _ in range(3):
        assert await ask(connections) == Answer(200, b"{}", None)
    assert server.accepted == 1


CHUNKED = b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_an_answer_in_many_pieces_is_put_together(
    server: Server, connections: Connections
) -> None:
    server.sayings = [
        says(*(bytes([byte]) for byte in CHUNKED + b'2\r\n{"\r\n1\r\n}\r\n0\r\n\r\n'))
    ]
    assert await ask(connections) == Answer(429, b'{"}', "7")


@pytest.mark.parametrize(
    "saying",
    [
        pytest.param(
            says(GOOD.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")), id="and says so"
        ),
        pytest.param(says(GOOD, then_close=True), id="without a word"),
    ],
)
async def test_a_connection_that_the_server_closes_is_not_used_again(
    server: Server, connections: Connections, saying: Say
) -> None:
    server.sayings = [saying, says(GOOD)]
    assert (await ask(connections)).status == 200
    for _ in range(20):
        # The server's end may still be on its way.
        with suppress(NoAnswerError):
            assert (await ask(connections)).status == 200
            break
    assert server.accepted == 2


@pytest.mark.parametrize(
    "saying",
    [
        pytest.param(says(then_close=True), id="nothing"),
        pytest.param(says(GOOD[:-1], then_close=True), id="half of an answer"),
        pytest.param(says(b"SSH-2.0-OpenSSH\r\n"), id="another protocol"),
        pytest.param(
            says(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", b"x" * 2000), id="too much"
        ),
    ],
)
async def test_a_server_that_says_nothing_useful_may_have_acted(
    server: Server, connections: Connections, saying: Say
) -> None:
    server.sayings = [saying, says(GOOD)]
    with pytest.raises(NoAnswerError) as raised:
        await ask(connections)
    assert raised.value.sent
    assert (await ask(connections)).status == 200


async def test_a_late_answer_is_never_taken_for_the_next_one(
    server: Server, connections: Connections
) -> None:
    late = asyncio.Event()

    async def say_late(writer: asyncio.StreamWriter) -> None:
        await late.wait()
        writer.write(GOOD.replace(b"{}", b"[]"))

    server.sayings = [says(GOOD), say_late, says(GOOD)]
    # On a connection that is open already, so that the time can only run out after the sending.
    await ask(connections)
    with pytest.raises(NoAnswerError) as raised:
        await ask(connections, seconds=0.05)
    assert raised.value.sent
    late.set()
    assert (await ask(connections)).content == b"{}"
    assert server.accepted == 2


async def test_what_comes_unasked_ends_the_connection(
    server: Server, connections: Connections
) -> None:
    server.sayings = [says(GOOD + GOOD.replace(b"{}", b"[]")), says(GOOD)]
    await ask(connections)
    assert (await ask(connections)).content == b"{}"


async def test_no_more_than_the_limit_are_at_work_and_the_others_wait(
    server: Server, connections: Connections
) -> None:
    answers = await asyncio.gather(*(ask(connections) for _ in range(20)))
    assert [answer.status for answer in answers] == [200] * 20
    assert server.accepted == 2


async def test_one_that_waits_in_vain_has_sent_nothing(
    server: Server, connections: Connections
) -> None:
    never = asyncio.Event()

    async def say_never(_: asyncio.StreamWriter) -> None:
        await never.wait()

    server.sayings = [say_never]
    holding = [asyncio.ensure_future(ask(connections)) for _ in range(2)]

    async def both_hold() -> bool:
        return len(server.requests) == 2

    await until(both_hold, "two requests that are not answered")
    with pytest.raises(NoAnswerError) as raised:
        await ask(connections, seconds=0.2)
    assert not raised.value.sent
    assert len(server.requests) == 2
    for one in holding:
        one.cancel()
    server.sayings = [says(GOOD)]
    assert (await ask(connections)).status == 200


async def test_nobody_there_means_that_nothing_was_sent() -> None:
    pool = Connections("http://127.0.0.1:1", ssl.create_default_context(), limit=1)
    with pytest.raises(NoAnswerError) as raised:
        await ask(pool)
    assert not raised.value.sent
