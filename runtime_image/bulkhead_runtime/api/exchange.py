"""One request and its answer on plain ASGI: bounded reading, common headers, counting."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Final, Protocol, TypeVar

from bulkhead_runtime.api.rate_headers import Header, rate_lines
from bulkhead_runtime.api.types import Message, Receive, Scope, Send
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.admission import Admission
from bulkhead_runtime.kernel.context import Principal
from bulkhead_runtime.kernel.requests import Caller, Repeatable
from bulkhead_runtime.telemetry.trace import Trace, continue_trace

Result = TypeVar("Result")
Count = Callable[[str, int], None]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_JSON = b"application/json"
_PLAIN: Final = b"identity"
EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
_EVENT_LINES: Final = (
    b"content-type: %s\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n" % EVENT_STREAM
)
_POLICIES: Final = b"bulkhead-policies"
_POLICY = re.compile(rb"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_MAX_POLICIES: Final = 8
BODY_SECONDS = 30
CONNECTION: Final = "bulkhead.connection"
"""The extension of ASGI by which a server tells more of a request's connection."""


NOBODY: Final = Principal("", frozenset(), "")
"""Who calls before anybody is authenticated."""


Gone = Callable[[], object]


class Connection(Protocol):
    """What a server can tell of a request's connection and do for it."""

    @property
    def body_is_there(self) -> bool:
        """Tell whether all of the request has come."""
        ...

    def when_gone(self, tell: Gone | None) -> None:
        """Call `tell` once the client has gone; with None, nobody wants to know any more."""
        ...

    def hold(self) -> None:
        """Let the next write wait for the one that follows it at once."""
        ...

    def add_to_head(self, lines: bytes) -> None:
        """Write these lines with the next head; whoever calls has checked what is in them."""
        ...


class ClientGoneError(Exception):
    """The client closed the connection before its answer was complete."""


class Exchange:
    """What handlers of the hot path work with.

    `path` is what routing and authentication both go by; `route` labels metrics and has no client
    text.
    """

    __slots__ = (
        "_close",
        "_connection",
        "_count",
        "_notes",
        "_rated_by",
        "headers",
        "method",
        "path",
        "principal",
        "receive",
        "request_id",
        "route",
        "scope",
        "send",
        "started",
        "trace",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, close: bool, count: Count
    ) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._connection: Connection = scope["extensions"][CONNECTION]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.trace: Trace = continue_trace(self.headers.get(b"traceparent"))
        self.request_id = self._own_request_id()
        self.route = "other"
        self.started = False
        self.principal = NOBODY
        self._notes: list[Header] = []
        self._rated_by: Admission | None = None
        self.receive = receive
        self.send = send
        self._close = close
        self._count = count

    def caller(self, repeatable: Repeatable | None = None) -> Caller:
        """Return who asks, for the kernel; raise a 400 `Problem` for bad headers."""
        return Caller(
            self.principal,
            self.request_id.decode(),
            self.trace,
            policies=self._policies(),
            repeatable=repeatable,
        )

    def start(self, status: int, lines: bytes = b"") -> list[Header]:
        """Note and count that an answer begins; return headers to go with its own.

        Those of every answer, and `lines`, are ours to the last byte or were checked when they
        came: they reach the head without the server's check of each.
        """
        self.started = True
        self._count(self.route, status)
        rated = self._rated_by.rate if self._rated_by is not None else None
        self._connection.add_to_head(
            b"date: %s\r\nx-request-id: %s\r\ntraceparent: %s\r\n%s%s"
            % (
                _date(),
                self.request_id,
                self.trace.traceparent.encode(),
                b"" if rated is None else rate_lines(rated),
                lines,
            )
        )
        return [(b"connection", b"close"), *self._notes] if self._close else self._notes

    def rated_by(self, admission: Admission) -> None:
        """Let the answer tell what is left of the rate."""
        self._rated_by = admission

    def note(self, *headers: Header) -> None:
        """Add headers to the answer, which has not begun yet."""
        self._notes.extend(headers)

    async def read_json(self, limit: int) -> bytes:
        """Return the body; raise a 413 or 415 `Problem` before reading more than allowed."""
        media_type = self.headers.get(b"content-type", _JSON).partition(b";")[0].strip().lower()
        # Clients name some type for no body at all.
        if media_type != _JSON and self.headers.get(b"content-length") != b"0":
            raise Problem(
                415,
                "unsupported_media_type",
                "The body must be JSON: send the header `Content-Type: application/json`.",
            )
        if self.headers.get(b"content-encoding", _PLAIN).strip().lower() not in (b"", _PLAIN):
            raise Problem(
                415,
                "unsupported_media_type",
                "The body must not be compressed: leave out the header `Content-Encoding`.",
            )
        announced = self.headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > limit:
            raise _too_large(limit)
        if self._connection.body_is_there:
            return await self._read(limit)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._read(limit)
        except TimeoutError as error:
            raise Problem(
                408, "body_timeout", f"The body did not arrive within {BODY_SECONDS} seconds."
            ) from error

    async def respond(
        self, status: int, body: bytes, *, content_type: bytes = _JSON, headers: list[Header] | None
    ) -> None:
        """Send a whole answer."""
        await self._start(
            status,
            [
                (b"content-type", content_type),
                (b"content-length", b"%d" % len(body)),
                *(headers or ()),
            ],
        )
        await self.send({"type": "http.response.body", "body": body})

    async def respond_unchanged(self, headers: list[Header]) -> None:
        """Tell a client that what it has is what it would get."""
        await self._start(304, headers)
        await self.finish()

    async def start_events(self, first: bytes = b"") -> None:
        """Begin a stream of server-sent events, whose first part is held back with its head."""
        await self._start(200, [], _EVENT_LINES)
        if first:
            await self.write(first, held=True)

    async def write(self, body: bytes, *, held: bool = False) -> None:
        """Send a part of a stream; what is held goes out with what follows before the task rests.

        So the last part goes out with the end, and the first only once the model is asked.
        """
        if held:
            self._connection.hold()
        await self.send({"type": "http.response.body", "body": body, "more_body": True})

    async def finish(self, body: bytes = b"") -> None:
        """End a stream, with a last part of it."""
        await self.send({"type": "http.response.body", "body": body})

    async def until_gone(self, work: Awaitable[Result]) -> Result:
        """Await `work`, cancelling it when the client leaves; then raise `ClientGoneError`."""
        task = asyncio.current_task()
        assert task is not None
        gone = False

        def leave() -> None:
            nonlocal gone
            gone = True
            task.cancel()

        self._connection.when_gone(leave)
        try:
            return await work
        except asyncio.CancelledError:
            if not gone:
                raise
            task.uncancel()
            raise ClientGoneError from None
        finally:
            self._connection.when_gone(None)

    async def _start(self, status: int, headers: list[Header], lines: bytes = b"") -> None:
        headers = self.start(status, lines) + headers
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def _read(self, limit: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message: Message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _policies(self) -> tuple[str, ...]:
        if _POLICIES not in self.headers:
            return ()
        # Sent twice it narrows twice: a gateway's own must not give way to the client's.
        sent = [value for name, value in self.scope["headers"] if name == _POLICIES]
        return _selected(b",".join(sent))

    def _own_request_id(self) -> bytes:
        given = self.headers.get(b"x-request-id", b"")
        return given if _REQUEST_ID.fullmatch(given) else b"req_" + self.trace.span_id.encode()


def _selected(header: bytes) -> tuple[str, ...]:
    """Return the named policies that a request selects to narrow what it may do."""
    names = [name.strip() for name in header.split(b",")]
    if len(names) > _MAX_POLICIES or not all(map(_POLICY.fullmatch, names)):
        raise Problem(
            400,
            "invalid_policies",
            f"`Bulkhead-Policies` must name 1 to {_MAX_POLICIES} policies with commas between "
            "them.",
            field="Bulkhead-Policies",
        )
    return tuple(name.decode() for name in dict.fromkeys(names))


def _too_large(limit: int) -> Problem:
    return Problem(
        413, "body_too_large", f"The body has more than {limit} bytes, the most that is read."
    )


class _Clock:
    """The Date header, formatted once a second."""

    second = 0
    text = b""


def _date() -> bytes:
    second = int(time.time())
    if second != _Clock.second:
        _Clock.second, _Clock.text = second, formatdate(second, usegmt=True).encode()
    return _Clock.text
