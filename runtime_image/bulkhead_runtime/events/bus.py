"""The event bus: hands what happened to the log and to those who watch, and never waits for them.

Events queue in memory until one write takes all that came within a moment. The queue is bounded;
what does not fit is counted, and reported as an event of its own once there is room.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Final

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.events.port import Event
from bulkhead_runtime.events.types import EVENT_TYPES
from bulkhead_runtime.identifiers import new_id
from bulkhead_runtime.store.records import EventFilter, EventLog, StoredEvent

log = logging.getLogger(__name__)

QUEUED_EVENTS: Final = 10_000
BATCH_EVENTS: Final = 500
GATHERED_SECONDS: Final = 0.02
"""How long the first event of a batch waits for others, so that a request's are written at once."""

SUBSCRIBER_EVENTS: Final = 1_000
PAGE_EVENTS: Final = 200
OTHER_REPLICAS_SECONDS: Final = 1.0
"""How often a follower looks for what other replicas wrote; its own replica wakes it at once."""

_RETRY_SECONDS: Final = (0.1, 0.5, 2.0, 5.0)
_DRAIN_SECONDS: Final = 5.0


def new_event_id() -> str:
    """Return an id that no other event has."""
    return new_id("evt")


class Subscription:
    """Events of some types as they happen in this process; `lost` counts what came too fast."""

    def __init__(self, types: frozenset[str]) -> None:
        self.types = types
        self.lost = 0
        self._queue: asyncio.Queue[Event] = asyncio.Queue(SUBSCRIBER_EVENTS)

    def offer(self, event: Event) -> None:
        """Take an event if there is room and its type was asked for."""
        if self.types and event.type not in self.types:
            return
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.lost += 1

    async def next(self) -> Event:
        """Wait for the next event."""
        return await self._queue.get()


class EventBus:
    """Takes events from everybody; opened and closed within one event loop."""

    def __init__(self, event_log: EventLog, *, lost: Callable[[int], None]) -> None:
        self._log = event_log
        self._count_lost = lost
        self._pending: deque[Event] = deque()
        self._lost = 0
        self._wanted = asyncio.Event()
        self._written = asyncio.Condition()
        self._writes = 0
        self._closing = False
        self._subscriptions: set[Subscription] = set()
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
        """Hand an event to subscribers and to the log; never blocks, never raises."""
        for subscription in self._subscriptions:
            subscription.offer(event)
        if len(self._pending) >= QUEUED_EVENTS:
            self._lost += 1
            self._count_lost(1)
            return
        self._pending.append(event)
        self._wanted.set()

    async def stored(self, events: tuple[Event, ...]) -> None:
        """Tell subscribers and followers of events that a transaction of the store has written."""
        for event in events:
            for subscription in self._subscriptions:
                subscription.offer(event)
        if events:
            await self._wake_followers()

    def subscribe(self, *types: str) -> Subscription:
        """Return a subscription to `types`, to all where none is named; end it yourself."""
        unknown = [name for name in types if name not in EVENT_TYPES]
        if unknown:
            raise ValueError(f"there is no event type {unknown[0]!r}: see events/types.py")
        subscription = Subscription(frozenset(types))
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._subscriptions.discard(subscription)

    async def follow(self, wanted: EventFilter) -> AsyncIterator[StoredEvent | None]:
        """Yield stored events after `wanted.after` and then each new one, without gap or double.

        Yields None when nothing came for a while, so that the caller can keep a connection alive.
        """
        after = wanted.after
        while True:
            writes = self._writes
            page = await self._log.events(replace(wanted, after=after), limit=PAGE_EVENTS)
            for stored in page:
                after = stored.sequence
                yield stored
            if not page and not await self._is_written_soon(writes):
                yield None

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
            self._pending.append(
                Event(new_event_id(), "events.lost", time.time_ns() // 10**6, data={"events": lost})
            )
        return tuple(self._pending)[:BATCH_EVENTS]

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
            else:
                return

    async def _write(self, batch: tuple[Event, ...]) -> None:
        await self._log.append_events(batch)
        for _ in batch:
            self._pending.popleft()
        await self._wake_followers()

    async def _wake_followers(self) -> None:
        async with self._written:
            self._writes += 1
            self._written.notify_all()

    async def _is_written_soon(self, writes: int) -> bool:
        async with self._written:
            try:
                async with asyncio.timeout(OTHER_REPLICAS_SECONDS):
                    return await self._written.wait_for(lambda: self._writes != writes)
            except TimeoutError:
                return False
