import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from bulkhead_api.v1alpha1.records import Records
from bulkhead_api.v1alpha1.sessions import Sessions
from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.events.port import Event
from bulkhead_runtime.store.port import ExpiredSession
from bulkhead_runtime.store.records import EventFilter
from bulkhead_runtime.store.retention import RetentionSweep
from bulkhead_runtime.store.sqlite import SqliteStore, database
from tests.support.deadline import until
from tests.support.runtime_process import ORGANIZATION, Mount, configuration, document
from tests.support.store_work import BOUNDS, begin, finish, line, say, started

V1 = document("1.0.0")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "data")
    yield opened
    await opened.close()


def _configure(mount: Mount, sessions: Sessions) -> None:
    config = configuration((V1, 100)).model_copy(update={"sessions": sessions})
    mount.configure(config.with_hash(), V1)


async def test_events_and_lines_are_kept_as_long_as_the_spec_says(
    store: SqliteStore, tmp_path: Path
) -> None:
    days_ago = 24 * 3600 * 1000
    now = time.time_ns() // 10**6
    await store.append_events(
        tuple(Event(f"evt_{age}", "turn.start", now - age * days_ago) for age in (50, 39, 1))
    )
    asked = begin()
    await started(store, asked)
    lines = tuple(line(id=f"use_{age}", at=now - age * days_ago) for age in (90, 79, 1))
    await store.finish(finish(asked, lines=lines), BOUNDS)
    mount = Mount(tmp_path / "config")
    config = configuration((V1, 100))
    mount.configure(config.with_hash(), V1)
    holder = ConfigurationHolder(mount.directory, ORGANIZATION)
    sweep = RetentionSweep(store, holder)
    holder.reload()
    running = asyncio.create_task(sweep.run())

    records = Records(event_days=40, ledger_days=80)
    mount.configure(config.model_copy(update={"records": records}).with_hash(), V1)
    holder.reload()

    async def events() -> list[str]:
        return [stored.event.id for stored in await store.events(EventFilter(), limit=10)]

    async def uses() -> list[str]:
        page = await store.ledger(since=0, until=2**52, principal=None, limit=10, cursor=None)
        return [use.id for use in page.items]

    async def only_what_is_kept() -> bool:
        return (await events(), await uses()) == (["evt_39", "evt_1"], ["use_1", "use_79"])

    await until(only_what_is_kept, "the sweep removes what is older than the spec says")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    (total,) = await store.usage_by((), since=0, until=2**52, principal=None)
    assert total.uses == 3


async def test_no_more_events_are_kept_than_the_spec_says(
    store: SqliteStore, tmp_path: Path
) -> None:
    now, most = time.time_ns() // 10**6, 10_000
    await store.append_events(
        tuple(Event(f"evt_{number}", "turn.start", now) for number in range(most + 1500))
    )
    mount = Mount(tmp_path / "config")
    config = configuration((V1, 100)).model_copy(update={"records": Records(max_events=most)})
    mount.configure(config.with_hash(), V1)
    holder = ConfigurationHolder(mount.directory, ORGANIZATION)
    sweep = RetentionSweep(store, holder)
    holder.reload()
    running = asyncio.create_task(sweep.run())

    async def the_newest_are_left() -> bool:
        kept = await store.events(EventFilter(), limit=most + 1500)
        return [stored.sequence for stored in kept] == list(range(1501, most + 1501))

    await until(the_newest_are_left, "the sweep removes the oldest of too many")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_sessions_expire_as_soon_as_the_configuration_says_so_and_old_events_leave(
    store: SqliteStore, tmp_path: Path
) -> None:
    await say(store, "old", new=True)
    await say(store, "new", "ses_2", new=True, principal="you")
    with sqlite3.connect(tmp_path / "data" / database.FILE) as connection:
        connection.execute("UPDATE sessions SET updated_at = 0 WHERE id = 'ses_1'")
    connection.close()
    await store.append_events(
        (Event("evt_old", "turn.start", 0), Event("evt_new", "turn.start", time.time_ns() // 10**6))
    )
    mount = Mount(tmp_path / "config")
    _configure(mount, Sessions())
    holder = ConfigurationHolder(mount.directory, ORGANIZATION)
    told: list[ExpiredSession] = []
    sweep = RetentionSweep(store, holder, told.append)
    holder.reload()
    running = asyncio.create_task(sweep.run())

    _configure(mount, Sessions(expire_after_seconds=60))
    holder.reload()

    async def expired() -> bool:
        return bool(told)

    async def only_new_events() -> bool:
        kept = await store.events(EventFilter(), limit=10)
        return [stored.event.id for stored in kept] == ["evt_new"]

    await until(expired, "the sweep archives the session")
    await until(only_new_events, "the sweep removes old events")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    listed = await store.sessions(None, BOUNDS, limit=10, cursor=None)
    assert told == [ExpiredSession("ses_1", "me")]
    assert [session.id for session in listed.items] == ["ses_2"]
