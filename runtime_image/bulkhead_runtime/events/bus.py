"""The event bus: hands what happened to the log, and to those who follow it when it is stored.

Events queue in memory until one write takes all that came within a moment. The queue is bounded;
what does not fit is counted, and reported as an event of its own once there is room.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from itertools import islice
from typing import Final

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.events.port import Event, happened
from bulkhead_runtime.store.records import EventFilter, EventLog, StoredEvent

log = logging.getLogger(__name__)

QUEUED_EVENTS: Final = 10_000
BATCH_EVENTS: Final = 500
GATHERED_SECONDS: Final = 0.02
"""How long the first event of a batch waits for others, so that a request's are written at once."""

PAGE_EVENTS: Final = 200
OTHER_REPLICAS_SECONDS: Final = 1.0
"""How often a follower looks for what other replicas wrote; its own replica wakes it at once."""

_RETRY_SECONDS: Final = (0.1, 0.5, 2.0, 5.0)
_DRAIN_SECONDS: Final = 5.0


class _Follower:
    """Somebody who waits for events; only those that are asked for wake him."""

    def __init__(self, wanted: EventFilter) -> None:
        self.written = asyncio.Event()
        self._wanted = wanted

    def hear(self, batch: tuple[Event, ...]) -> None:
        """Wake up if there is something in what was written."""
        if any(self._wanted.matches(event) for event in batch):
            self.written.set()

    async def wait(self, seconds: float) -> bool:
        """Tell whether something was written within the seconds."""
        try:
            async with asyncio.timeout(seconds):
                return await self.written.wait()
        except TimeoutError:
            return False


class EventBus:
    """Takes events from everybody; opened and closed within one event loop."""

    def __init__(self, event_log: EventLog, *, lost: Callable[[int], None]) -> None:
        self._log = event_log
        self._count_lost = lost
        self._pending: deque[Event] = deque()
        self._lost = 0
        self._wanted = asyncio.Event()
        self._closing = False
        self._followers: set[_Follower] = set()
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._writer = asyncio.get_running_loop().create_task(self._write_forever())

    async def aclose(self) -> None:
        """Write what waits, within a bounded time, and stop."""
        if self._writer is None:
            return
        self._closing = True
        self._wanted.set()
        await asyncio.wait((self._writer,), timeout=_DRAIN_SECONDS)
        self._writer.cancel()
        self._writer = None
        if self._pending:
            self._count_lost(len(self._pending))
            log.error("Events lost at the end", extra={"events": len(self._pending)})

    def publish(self, event: Event) -> None:
        """Hand an event to the log; never blocks, never raises."""
        if len(self._pending) >= QUEUED_EVENTS:
            self._lose(1)
            return
        self._pending.append(event)
        self._wanted.set()

    async def follow(
        self, wanted: EventFilter, *, limit: int = PAGE_EVENTS
    ) -> AsyncGenerator[StoredEvent | None]:
        """Yield stored events after `wanted.after` and then each new one, without gap or double.

        The first page has up to `limit`; where the newest are wanted, that is all of the past.
        Yields None when nothing came for a while, so that the caller can keep a connection alive.
        """
        follower = _Follower(wanted)
        self._followers.add(follower)
        try:
            while True:
                follower.written.clear()
                page = await self._log.events(wanted, limit=limit)
                after = page[-1].sequence if page else wanted.after
                wanted, limit = replace(wanted, after=after, newest=False), PAGE_EVENTS
                for stored in page:
                    yield stored
                if not page and not await follower.wait(OTHER_REPLICAS_SECONDS):
                    yield None
        finally:
            self._followers.discard(follower)

    async def _write_forever(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await asyncio.sleep(GATHERED_SECONDS)
            while self._pending:
                await self._write_retrying(self._batch())
            if self._closing:
                return

    def _batch(self) -> tuple[Event, ...]:
        """Return what is written next; it leaves the queue only when it is stored."""
        if self._lost and len(self._pending) < QUEUED_EVENTS:
            lost, self._lost = self._lost, 0
            self._pending.append(happened("events.lost", data={"events": lost}))
        # `tuple(islice(...))` begins with ten places and is cut to size: the interpreter keeps what
        # is freed for another of that size, which never takes it, up to 2,000 of each.
        return (*islice(self._pending, BATCH_EVENTS),)

    async def _write_retrying(self, batch: tuple[Event, ...]) -> None:
        failures = 0
        while True:
            try:
                await self._write(batch)
            except Problem as problem:
                if failures == 0:
                    log.warning("Events wait for the store", extra={"reason": problem.message})
                await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                failures += 1
            except Exception:
                log.exception("Events lost", extra={"events": len(batch)})
                self._lose(len(batch))
                self._written(batch)
                return
            else:
                return

    def _lose(self, events: int) -> None:
        """Count events; the log of events is told of them with the next ones."""
        self._lost += events
        self._count_lost(events)

    def _written(self, batch: tuple[Event, ...]) -> None:
        for _ in batch:
            self._pending.popleft()

    async def _write(self, batch: tuple[Event, ...]) -> None:
        await self._log.append_events(batch)
        self._written(batch)
        for follower in self._followers:
            follower.hear(batch)
