"""One HTTP/1.1 connection to a provider, with one answer on it at a time.

There is only what a provider's stream needs: no redirects, no cookies, no compression. The parser
is llhttp, which is uvicorn's too; why not a general client stands in docs/design/0025.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools

MAX_HEAD_BYTES: Final = 65_536
MAX_HELD_BYTES: Final = 262_144
"""So much of a body may wait to be read before the provider has to."""

_KEPT_HEADERS: Final = frozenset({b"content-type", b"content-encoding", b"retry-after"})
_CONTINUING: Final = range(100, 200)


class ProtocolError(Exception):
    """The provider said something that is no HTTP, or too long a head."""


class Connection(asyncio.Protocol):
    """Sends a request and hands its answer out as it arrives.

    The parser calls what begins with `on_`. `status` is 0 until the head of an answer is there,
    `ended` True once all of it is and `reusable` whether another request may follow then; `kept`
    tells that an earlier answer came over this connection.
    """

    __slots__ = (
        "_deadline",
        "_error",
        "_framed",
        "_heard_at",
        "_held",
        "_loop",
        "_on_lost",
        "_parser",
        "_paused",
        "_pieces",
        "_silence",
        "_timer",
        "_transport",
        "_waiter",
        "ended",
        "headers",
        "kept",
        "on_body",
        "reusable",
        "status",
    )

    def __init__(self, on_lost: Callable[["Connection"], None]) -> None:
        self.kept = self.reusable = False
        self.status = 0
        self.ended = True
        self.headers: dict[bytes, bytes] = {}
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._pieces: list[bytes] = []
        self._held = 0
        self._framed = self._paused = False
        self._heard_at = self._silence = self._deadline = 0.0
        # A stream is many small chunks: the parser hands each to the list without a call of ours.
        self.on_body = self._pieces.append
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    @property
    def stale(self) -> bool:
        """Tell whether the connection was kept, and nothing at all came back to the request."""
        return self.kept and self.status == 0 and self._held == 0

    async def ask(self, request: bytes, *, silence: float, seconds: float) -> None:
        """Send a request and return when the head of its answer is there.

        From here on the answer ends in a `TimeoutError` after `seconds`, or when nothing comes for
        `silence` seconds; other ends are `ConnectionError` and `ProtocolError`.
        """
        self.status, self.ended, self.reusable = 0, False, False
        self._held, self._framed = 0, False
        self.headers.clear()
        self._heard_at = self._loop.time()
        self._silence, self._deadline = silence, self._heard_at + seconds
        self._watch()
        if self._transport is not None:
            self._transport.write(request)
        while not self.status:
            await self._news()

    async def read(self) -> bytes:
        """Return what has come of the body, waiting for something; nothing is its end."""
        while not self._pieces:
            if self.ended:
                return b""
            await self._news()
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        if self._paused and self._transport is not None and self._error is None:
            self._paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()
        return body

    def rest(self, seconds: float, *, tail_seconds: float) -> None:
        """Wait for another request and give up after `seconds`.

        The end of an answer that nobody reads any more is waited for too, for `tail_seconds`.
        """
        self.kept = True
        self._pieces.clear()
        if self.ended:
            self._arm(seconds, 0.0)
        else:
            self._arm(tail_seconds, seconds)

    async def settled(self) -> bool:
        """Return whether the connection can be used again, once that is known."""
        try:
            while not self.ended:
                await self._news()
        except (OSError, ProtocolError):
            return False
        return self.reusable

    def abort(self) -> None:
        """End the connection, whatever is under way."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # Not an instance of it: uvloop's transports are of no class of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take a read; what comes unasked ends the connection."""
        if self._parser is None:
            return
        self._heard_at = self._loop.time()
        self._held += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ProtocolError(type(error).__name__))
            return
        if self._held > MAX_HEAD_BYTES:
            self._hold_back()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end, which is also that of a body without a length."""
        if not self.ended and self.status and not self._framed and exc is None:
            self.on_message_complete()
        self._transport = None
        self._fail(exc if isinstance(exc, OSError) else ConnectionResetError())
        self._parser = None  # which holds methods of this object
        self._on_lost(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what is read of a head, and note how its body ends."""
        name = name.lower()
        if name in _KEPT_HEADERS:
            self.headers[name] = value
        elif name in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        """Let the answer begin, unless it is only a word in between."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status not in _CONTINUING:
            self.status = status

    def on_message_begin(self) -> None:
        """Refuse an answer that nobody asked for."""
        if self.ended:
            raise ProtocolError

    def on_message_complete(self) -> None:
        """Note that all is there."""
        if not self.status or self._parser is None:
            return
        self.ended = True
        # Asked later, the parser would speak of the answer that has not begun.
        self.reusable = self._parser.should_keep_alive()

    def _hold_back(self) -> None:
        if not self.status:
            self._fail(ProtocolError("too long a head"))
        elif self._held > MAX_HELD_BYTES and not self._paused and not self.ended:
            assert self._transport is not None
            self._paused = True
            self._transport.pause_reading()

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self.reusable = False
        self.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _news(self) -> asyncio.Future[None]:
        """Return what is done when something came; raise what ended the connection."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        return self._waiter

    def _arm(self, seconds: float, then: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._rested, then)

    def _rested(self, then: float) -> None:
        """Give up, or go on resting where only the end of an answer was waited for."""
        if then and self.reusable:
            self._arm(then, 0.0)
        else:
            self.abort()

    def _watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due(), self._look)

    def _due(self) -> float:
        """Return when the answer is given up; a wait of ours is not the provider's silence."""
        if self._paused:
            return self._deadline
        return min(self._deadline, self._heard_at + self._silence)

    def _look(self) -> None:
        if self._loop.time() < self._due():
            self._watch()
        else:
            self._fail(TimeoutError())
