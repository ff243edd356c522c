import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from bulkhead_api.v1alpha1.sessions import Sessions
from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.events.port import Event
from bulkhead_runtime.store.port import ExpiredSession
from bulkhead_runtime.store.records import EventFilter
from bulkhead_runtime.store.retention import RetentionSweep
from bulkhead_runtime.store.sqlite import SqliteStore, database
from tests.support.deadline import until
from tests.support.runtime_process import ORGANIZATION, Mount, configuration, document
from tests.support.store_work import BOUNDS, say

V1 = document("1.0.0")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "data")
    yield opened
    await opened.close()


def _configure(mount: Mount, sessions: Sessions) -> None:
    config = configuration((V1, 100)).model_copy(update={"sessions": sessions})
    mount.configure(config.with_hash(), V1)


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
