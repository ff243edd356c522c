import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from bulkhead_runtime import errors
from bulkhead_runtime.events.bus import BATCH_EVENTS, QUEUED_EVENTS, EventBus
from bulkhead_runtime.events.port import Event
from bulkhead_runtime.store.records import EventFilter, StoredEvent
from bulkhead_runtime.store.sqlite import SqliteStore
from tests.support.deadline import until


class Counter:
    def __init__(self) -> None:
        self.lost = 0

    def __call__(self, events: int) -> None:
        self.lost += events


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path)
    yield opened
    await opened.close()


def _event(number: int, type_: str = "tool.pre_call", session: str | None = None) -> Event:
    return Event(f"evt_{number}", type_, number, session_id=session, data={"number": number})


async def _numbers(store: SqliteStore, wanted: EventFilter | None = None) -> list[int]:
    page = await store.events(wanted or EventFilter(), limit=100_000)
    return [stored.event.data["number"] for stored in page if "number" in stored.event.data]


async def test_what_is_published_is_kept_in_order_when_the_bus_closes(store: SqliteStore) -> None:
    bus = EventBus(store, lost=Counter())
    bus.start()
    for number in range(3 * BATCH_EVENTS + 1):
        bus.publish(_event(number))
    await bus.aclose()

    assert await _numbers(store) == list(range(3 * BATCH_EVENTS + 1))


async def test_more_than_the_queue_holds_is_counted_and_told_and_never_blocks(
    store: SqliteStore,
) -> None:
    counter = Counter()
    bus = EventBus(store, lost=counter)
    for number in range(QUEUED_EVENTS + 7):
        bus.publish(_event(number))
    bus.start()
    await until(partial(_is_written, store, QUEUED_EVENTS), "what the queue held is written")
    await bus.aclose()

    lost = [
        stored.event.data
        for stored in await store.events(EventFilter(types=("events.lost",)), limit=10)
    ]
    assert counter.lost == 7
    assert lost == [{"events": 7}]
    assert await _numbers(store) == list(range(QUEUED_EVENTS))


async def test_what_no_store_can_take_is_lost_with_a_count_and_what_follows_is_kept(
    store: SqliteStore,
) -> None:
    counter = Counter()
    bus = EventBus(store, lost=counter)
    bus.start()
    bus.publish(Event("evt_odd", "tool.denied", 0, data={"reason": "half a character: \ud800"}))

    async def lost() -> bool:
        return counter.lost == 1

    await until(lost, "it is counted")
    bus.publish(_event(1))
    await bus.aclose()
    assert await _numbers(store) == [1]
    assert [stored.event.data for stored in await store.events(EventFilter(), limit=10)] == [
        {"number": 1},
        {"events": 1},
    ]


async def test_a_follower_gets_the_past_and_then_the_present_without_gap_or_double(
    store: SqliteStore,
) -> None:
    bus = EventBus(store, lost=Counter())
    bus.start()
    for number in range(300):
        bus.publish(_event(number))
    seen: list[int] = []

    async def follow() -> None:
        async for stored in bus.follow(EventFilter()):
            if stored is not None:
                seen.append(stored.event.data["number"])
            if len(seen) == 900:
                return

    follower = asyncio.create_task(follow())
    for number in range(300, 900):
        bus.publish(_event(number))
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await follower
    await bus.aclose()

    assert seen == list(range(900))


class CountingLog:
    """The store itself; only counts how often it was read."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.read = 0

    async def append_events(self, events: tuple[Event, ...]) -> None:
        await self._store.append_events(events)

    async def events(self, wanted: EventFilter, *, limit: int) -> tuple[StoredEvent, ...]:
        self.read += 1
        return await self._store.events(wanted, limit=limit)

    async def remove_events(self, *, before: int, keep: int, limit: int) -> int:
        return await self._store.remove_events(before=before, keep=keep, limit=limit)


async def test_only_what_a_follower_asked_for_makes_it_read(store: SqliteStore) -> None:
    log = CountingLog(store)
    bus = EventBus(log, lost=Counter())
    bus.start()
    found: list[StoredEvent] = []
    pauses = 0

    async def follow() -> None:
        nonlocal pauses
        wanted = EventFilter(types=("request.complete",), session_id="ses_1")
        async for stored in bus.follow(wanted):
            if stored is not None:
                found.append(stored)
                return
            pauses += 1

    following = asyncio.create_task(follow())
    for number in range(10):
        bus.publish(_event(2 * number, "request.complete", "ses_2"))
        bus.publish(_event(2 * number + 1, "request.start", "ses_1"))
        await until(partial(_is_written, store, 2 * number + 2), "they are written")
    bus.publish(_event(99, "request.complete", "ses_1"))
    async with asyncio.timeout(30):
        await following
    await bus.aclose()

    assert [stored.event.data["number"] for stored in found] == [99]
    woken = log.read - pauses - len(found)
    assert woken <= 1, "what others did woke it"


async def _is_written(store: SqliteStore, events: int) -> bool:
    return len(await _numbers(store)) >= events


class AwayLog:
    """A store that is away for a while: the edge at which the bus must wait."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.away = True
        self.tried = asyncio.Event()

    async def append_events(self, events: tuple[Event, ...]) -> None:
        self.tried.set()
        if self.away:
            raise errors.store_unavailable("The database does not answer.")
        await self._store.append_events(events)

    async def events(self, wanted: EventFilter, *, limit: int) -> tuple[StoredEvent, ...]:
        return await self._store.events(wanted, limit=limit)

    async def remove_events(self, *, before: int, keep: int, limit: int) -> int:
        return await self._store.remove_events(before=before, keep=keep, limit=limit)


async def test_events_wait_for_a_store_that_is_away(store: SqliteStore) -> None:
    log, counter = AwayLog(store), Counter()
    bus = EventBus(log, lost=counter)
    bus.start()
    bus.publish(_event(1))
    await log.tried.wait()
    log.away = False
    await bus.aclose()

    assert await _numbers(store) == [1]
    assert counter.lost == 0
