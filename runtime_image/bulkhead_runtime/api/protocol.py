"""What uvicorn leaves open: bounds of a request's head, fewer writes, and word of a client's leave.

How large a head may be and how long it may take is checked before any request exists, so neither
endless headers nor a connection that never says anything holds memory or a place. Trailers of
chunked bodies are dropped: nothing here reads them.

On a local network a write costs as much as handling a request, so a head goes out with the body
that follows it at once, and the end of a stream with its last words. uvicorn checks each header by
itself; those that we make ourselves join its head here.
"""

import asyncio
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final

import orjson
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bulkhead_runtime.api.exchange import CONNECTION, Gone
from bulkhead_runtime.api.problems import PROBLEM_JSON, problem_document
from bulkhead_runtime.errors import Problem

MAX_HEAD_BYTES: Final = 64 * 1024
HEAD_SECONDS: Final = 15.0
"""How long a head may take, and what is left of a request that was answered early."""

UNREAD_SECONDS: Final = 30.0
"""How long a client may read too little for anything more to be written."""

_HEAD: Final = b"HTTP/1.1 "
_LINE: Final = b"\r\n"


def _refusal(problem: Problem) -> bytes:
    """Return the whole answer to what never became a request, and so has no trace."""
    body = orjson.dumps(problem_document(problem, None))
    return (
        b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
        % (
            problem.status,
            HTTPStatus(problem.status).phrase.encode(),
            PROBLEM_JSON,
            len(body),
            body,
        )
    )


_TOO_LARGE: Final = _refusal(
    Problem(
        431,
        "headers_too_large",
        f"The path and the headers have more than {MAX_HEAD_BYTES} bytes, the most that is read.",
    )
)
_TOO_SLOW: Final = _refusal(
    Problem(408, "head_timeout", f"The headers did not arrive within {HEAD_SECONDS:g} seconds.")
)
_MALFORMED: Final = _refusal(
    Problem(400, "malformed_request", "This is no HTTP request. Send one, without TLS.")
)


class _Flow(FlowControl):
    """Makes its event when writing has to pause first: an event takes 760 bytes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = self.write_paused = False

    @cached_property
    def _is_writable_event(self) -> asyncio.Event:  # type: ignore[override]  # made when it is used
        return asyncio.Event()


class _Pipeline(list[Any]):
    """Requests that came before their turn: most connections never have one, and a deque is 760."""

    def appendleft(self, request: Any) -> None:
        """Add what is served last."""
        self.insert(0, request)


class _Signal:
    """An event for the only one who waits."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Let who waits go on."""
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Let who waits next wait."""
        self._is_set = False

    async def wait(self) -> None:
        """Return when it is set."""
        if not self._is_set:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


class BoundedProtocol(HttpToolsProtocol):
    """One connection; every head on it is bounded in bytes and time."""

    # With these among uvicorn's own there would be more than Python shares the names of between
    # instances, and each connection would pay for all of them: 1.2 KB.
    __slots__ = (
        "_gone",
        "_head_bytes",
        "_head_timer",
        "_held",
        "_holds",
        "_in_head",
        "_lines",
        "_unread_timer",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pipeline = _Pipeline()  # type: ignore[assignment]  # all that is used of a deque
        self._in_head = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._held = b""
        self._holds = False
        self._lines = b""
        self._gone: Gone | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self.flow = _Flow(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer, and tell whoever works for this client."""
        self._disarm()
        self._forget_unread()
        super().connection_lost(exc)
        if self._gone is not None:
            self._gone()
        # Either knows this object too.
        self.cycle = self.scope = None  # type: ignore[assignment]  # as before the first request

    def data_received(self, data: bytes) -> None:
        """Parse, then count what belongs to a head that is not complete."""
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._end(_TOO_LARGE)
        elif self._head_timer is None:
            self._arm()

    def pause_writing(self) -> None:
        """Write no more, and for a client that goes on not to read never again."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Write again; one that is about to end has its time all the same."""
        if not self.transport.is_closing():
            self._forget_unread()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection, whether or not its client has read all."""
        self.transport.abort()

    def on_message_begin(self) -> None:
        """Note that a head began."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: self}  # type: ignore[dict-item]  # not uvicorn's own

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; drop a trailer."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that the head is complete."""
        self._in_head = False
        self._disarm()
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.message_event = _Signal()  # type: ignore[assignment]  # all that is used of one
            self.cycle.transport = self  # type: ignore[assignment]  # all that a cycle asks of one

    def on_message_complete(self) -> None:
        """Note that all of a request has come, though it may be answered already."""
        self._disarm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for what is left of a request that was answered early, but not for ever."""
        is_early = not self.pipeline and not self.body_is_there
        super().on_response_complete()
        if is_early:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    @property
    def body_is_there(self) -> bool:
        """Tell whether all of the request has come."""
        return self.cycle is None or not self.cycle.more_body

    def when_gone(self, tell: Gone | None) -> None:
        """Call `tell` once the client has gone; with None, nobody wants to know any more."""
        self._gone = tell
        if tell is not None and self.parser is None:
            self.loop.call_soon(tell)
        elif tell is not None and not self.pipeline:
            self.flow.resume_reading()  # a connection that is not read from says nothing of its end

    def hold(self) -> None:
        """Let the next write wait for the one that follows it at once."""
        self._holds = True

    def add_to_head(self, lines: bytes) -> None:
        """Write these lines with the next head; whoever calls has checked what is in them."""
        self._lines = lines

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's words)
        """Refuse what is no request."""
        self._end(_MALFORMED)

    def write(self, data: bytes) -> None:
        """Write for a cycle; a head, and what is to be held, waits for what follows at once."""
        if self._lines:
            data, self._lines = data.removesuffix(_LINE) + self._lines + _LINE, b""
        held, self._held = self._held, b""
        holds, self._holds = self._holds, False
        if holds or (not held and data.startswith(_HEAD)):
            self._held = held + data
            if not held:
                self.loop.call_soon(self._let_go)
        else:
            self.transport.write(held + data)

    def close(self) -> None:
        """Close for a cycle."""
        self._let_go()
        self._close()

    def is_closing(self) -> bool:
        """Tell a cycle whether the connection is about to end."""
        return self.transport.is_closing()

    def _let_go(self) -> None:
        if self._held:
            data, self._held = self._held, b""
            self.transport.write(data)

    def _arm(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._end, _TOO_SLOW)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _forget_unread(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _end(self, answer: bytes) -> None:
        """Close the connection; say why unless an earlier request on it is still answered."""
        self._disarm()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(answer)
        self._close()

    def _close(self) -> None:
        """Close once the client has read all, or has had its time to."""
        self.transport.close()
        if self.transport.get_write_buffer_size() and self._unread_timer is None:
            self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)
