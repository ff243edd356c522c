"""Server-sent events: framing, and comments that keep a quiet stream open."""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self

import orjson

from bulkhead_runtime.api.exchange import Exchange

KEEP_ALIVE_SECONDS: Final = 10.0
KEEP_ALIVE: Final = b": keep-alive\n\n"


def frame(event: str, data: Any) -> bytes:
    """Return one named event."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), orjson.dumps(data))


class KeepAlive:
    """Writes a comment whenever a stream was quiet for a while; costs one timer per stream."""

    __slots__ = ("_begin", "_exchange", "_last", "_loop", "_seconds", "_timer", "_write")

    def __init__(self, exchange: Exchange, seconds: float = KEEP_ALIVE_SECONDS) -> None:
        self._exchange = exchange
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._write: asyncio.Task[None] | None = None
        self._begin: Callable[[], Coroutine[Any, Any, None]] | None = None

    def begin_by(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let a stream begin which is quiet for as long from now on, before its first part.

        From then on a failure is told in the stream and no more by a status.
        """
        self._begin = begin
        self.touch()

    def touch(self) -> None:
        """Note that something was written."""
        self._last = self._loop.time()

    def __enter__(self) -> Self:
        self._arm(self._seconds)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._begin = None  # whoever begins a stream knows this object, too
        if self._timer is not None:
            self._timer.cancel()
        if self._write is not None:
            self._write.cancel()

    def _arm(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._fire)

    def _fire(self) -> None:
        quiet = self._loop.time() - self._last
        if quiet < self._seconds:
            self._arm(self._seconds - quiet)
            return
        if self._write is None or self._write.done():
            self._write = self._loop.create_task(self._break_silence())
        self.touch()
        self._arm(self._seconds)

    async def _break_silence(self) -> None:
        if not self._exchange.started and self._begin is not None:
            await self._begin()
        if self._exchange.started:
            await self._exchange.write(KEEP_ALIVE)
