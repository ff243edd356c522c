"""Metrics as they change, for any number of readers: looked up once, sent to all.

A change is sent at once, the next ones after a pause in which they gather. A reader that is slow
misses what came meanwhile and gets the whole state next, so nothing ever waits for it.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import orjson

from bulkhead_runtime.telemetry.changes import Changes
from bulkhead_runtime.telemetry.instruments import Reading
from bulkhead_runtime.telemetry.snapshot import Document, changes, documents

GATHER_SECONDS: Final = 0.03
LOOK_SECONDS: Final = 1.0
"""How often those are looked at that change without saying so: memory, ages, other replicas."""

Read = Callable[[], Awaitable[tuple[Reading, ...]]]


class LiveMetrics:
    """Watches for all readers while there are any; belongs to the event loop's thread."""

    def __init__(self, read: Read, changed: Changes) -> None:
        self._read = read
        self._changed = changed
        self._readers = 0
        self._watching: asyncio.Task[None] | None = None
        self._state: tuple[Reading, ...] = ()
        self._number = 0
        self._change: bytes | None = None
        self._whole: bytes | None = None
        self._news: asyncio.Future[None]

    async def follow(self) -> AsyncGenerator[bytes, None]:
        """Yield the whole state, then what changes, as server-sent events."""
        if self._watching is None:
            self._begin()
        self._readers += 1
        seen = -1
        try:
            while True:
                if seen == self._number or not self._state:
                    await asyncio.shield(self._news)
                    continue
                missed, seen = self._number - seen, self._number
                yield self._whole_state() if missed > 1 or not self._change else self._change
        finally:
            self._readers -= 1
            if not self._readers:
                self._end()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._news = loop.create_future()
        self._watching = loop.create_task(self._watch())
        self._watching.add_done_callback(self._ended)

    def _end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        self._watching = None
        self._state, self._change, self._whole = (), None, None

    def _ended(self, watching: "asyncio.Task[None]") -> None:
        """Let the readers fail with what ended the watching."""
        if not watching.cancelled() and (error := watching.exception()) is not None:
            self._watching = None
            self._news.set_exception(error)

    async def _watch(self) -> None:
        while True:
            changed = self._changed.next()
            self._publish(await self._read())
            await asyncio.sleep(GATHER_SECONDS)
            await asyncio.wait({changed}, timeout=LOOK_SECONDS)

    def _publish(self, readings: tuple[Reading, ...]) -> None:
        if self._state:
            changed = changes(self._state, readings)
            if changed == []:
                return
            self._change = None if changed is None else _frame("change", changed)
        self._state, self._whole = readings, None
        self._number += 1
        news, self._news = self._news, asyncio.get_running_loop().create_future()
        news.set_result(None)

    def _whole_state(self) -> bytes:
        if self._whole is None:
            self._whole = _frame("snapshot", documents(self._state))
        return self._whole


def _frame(event: str, data: list[Document]) -> bytes:
    told = {"updated_at": datetime.now(UTC), "data": data}
    return b"event: %s\ndata: %s\n\n" % (
        event.encode(),
        orjson.dumps(told, option=orjson.OPT_UTC_Z),
    )
