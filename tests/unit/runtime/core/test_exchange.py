import asyncio
from typing import Any

import pytest

from bulkhead_runtime.api.events import KEEP_ALIVE, KEEP_ALIVE_SECONDS, KeepAlive
from bulkhead_runtime.api.exchange import CONNECTION, ClientGoneError, Exchange, Gone
from bulkhead_runtime.telemetry.trace import continue_trace


class Server:
    """The server's side of ASGI and of a connection: keeps what is sent, and who wants to know."""

    body_is_there = True

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.changed = asyncio.Event()
        self.tell: Gone | None = None

    def when_gone(self, tell: Gone | None) -> None:
        self.tell = tell

    def hold(self) -> None:
        """Write at once all the same."""

    def add_to_head(self, lines: bytes) -> None:
        """Write no head at all."""

    async def send(self, message: Any) -> None:
        self.sent.append(message.get("body", b""))
        self.changed.set()

    def exchange(self) -> Exchange:
        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}
        scope["extensions"] = {CONNECTION: self}
        return Exchange(scope, self.incoming.get, self.send, close=False, count=lambda *_: None)


async def _sent(server: Server, count: int) -> None:
    async with asyncio.timeout(30):
        while server.sent.count(KEEP_ALIVE) < count:
            await server.changed.wait()
            server.changed.clear()


async def test_a_quiet_stream_is_kept_open_by_comments() -> None:
    server = Server()
    exchange = server.exchange()
    with KeepAlive(exchange, 0.01):
        await exchange.start_events()
        await _sent(server, 3)
    assert KEEP_ALIVE.startswith(b":")
    assert KEEP_ALIVE_SECONDS <= 15


async def test_nothing_is_written_before_the_answer_began_nor_after_it_ended() -> None:
    server = Server()
    exchange = server.exchange()
    with KeepAlive(exchange, 0.001):
        loop = asyncio.get_running_loop()
        later = loop.create_future()
        loop.call_later(0.02, later.set_result, None)
        await later
        assert server.sent == []
        await exchange.start_events()
        await _sent(server, 1)
    count = len(server.sent)
    later = loop.create_future()
    loop.call_later(0.02, later.set_result, None)
    await later
    assert len(server.sent) == count


async def test_work_is_cancelled_when_the_client_leaves() -> None:
    server, cancelled = Server(), asyncio.Event()

    async def work() -> None:
        assert server.tell is not None
        asyncio.get_running_loop().call_soon(server.tell)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ClientGoneError):
        await asyncio.wait_for(server.exchange().until_gone(work()), 30)
    assert cancelled.is_set()
    assert server.tell is None


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    server = Server()
    task = asyncio.create_task(server.exchange().until_gone(asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
UNUSABLE = {
    "no header": None,
    "an empty one": b"",
    "other letters": b"00-" + b"g" * 32 + b"-" + SPAN.encode() + b"-01",
    "a trace of zeros": b"00-" + b"0" * 32 + b"-" + SPAN.encode() + b"-01",
    "a span of zeros": f"00-{TRACE}-{'0' * 16}-01".encode(),
    "too short": f"00-{TRACE[1:]}-{SPAN}-01".encode(),
    "a fifth part in version 00": f"00-{TRACE}-{SPAN}-01-x".encode(),
    "the forbidden version": f"ff-{TRACE}-{SPAN}-01".encode(),
    "bytes that are no ASCII": b"\xff" * 55,
}


@pytest.mark.parametrize("header", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_new_trace_begins_with(header: bytes | None) -> None:
    trace = continue_trace(header)
    assert trace.trace_id not in {TRACE, "0" * 32}
    assert (len(trace.trace_id), len(trace.span_id)) == (32, 16)


@pytest.mark.parametrize(("given", "passed_on"), [("ff", "03"), ("09", "01"), ("fc", "00")])
def test_flags_that_nobody_here_knows_are_not_said_on(given: str, passed_on: str) -> None:
    trace = continue_trace(f"00-{TRACE}-{SPAN}-{given}".encode())
    assert trace.traceparent.endswith(f"-{passed_on}")


@pytest.mark.parametrize("header", [f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-00-more"])
def test_a_trace_goes_on_in_a_span_of_its_own(header: str) -> None:
    trace = continue_trace(header.encode())
    assert trace.trace_id == TRACE
    assert trace.span_id != SPAN
    assert trace.traceparent.endswith("-00")
