import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.events.port import Event
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.store.records import EventFilter, UsageGroup
from bulkhead_runtime.store.spending import ClaimRefused, TurnEnd
from bulkhead_runtime.store.sqlite import SqliteStore, database, event_rows, ledger, schema
from tests.support.store_work import (
    BOUNDS,
    FAR,
    account,
    amounts,
    begin,
    begin_turn,
    claim,
    finish,
    line,
    new_session,
    said,
    say,
    started,
    turn_of,
)

DAY = 24 * 3600 * 1000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path)
    yield opened
    await opened.close()


async def test_many_turns_at_once_share_a_commit(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    turns = [await turn_of(store, begin_turn(f"ses_{number}", new=True)) for number in range(200)]
    before = _wal_commits(tmp_path)
    message = (ModelMessage("user", "x"),)
    endings = [
        finish(asked, turn=TurnEnd(turn, "completed", message), lines=(line(),))
        for asked, turn in turns
    ]
    await asyncio.gather(*(store.finish(ending, BOUNDS) for ending in endings))
    commits = _wal_commits(tmp_path) - before
    await store.close()
    assert 1 <= commits <= 100


async def test_a_turn_that_fails_midway_leaves_nothing_of_itself_and_the_others_alone(
    store: SqliteStore,
) -> None:
    requests = [begin_turn(f"ses_{number}", new=True) for number in range(6)]
    requests[3] = replace(requests[3], principal="somebody else than its new session")
    requests[4] = replace(requests[4], session_id="ses_0", new=new_session("ses_0"))

    results = await asyncio.gather(
        *(store.begin(begin(turn=request), BOUNDS) for request in requests), return_exceptions=True
    )

    failed = [isinstance(result, Exception) for result in results]
    assert failed == [False, False, False, True, True, False]
    assert (await store.usage()).sessions == 4
    with pytest.raises(Problem):
        await store.session("ses_3", "me", BOUNDS)


async def test_work_of_a_process_that_ended_is_settled_when_the_next_one_opens(
    tmp_path: Path,
) -> None:
    ended = SqliteStore(tmp_path)
    total = account(cost="1")
    asked = begin(
        claim=claim(),
        accounts=(total,),
        reserve=amounts(cost="0.4", tokens="70"),
        turn=begin_turn(new=True),
    )
    await started(ended, asked)
    await ended.close()

    store = SqliteStore(tmp_path)
    assert (await store.session("ses_1", "me", BOUNDS)).status == "executing"
    await store.recover()
    (balance,) = await store.balances((total,))
    assert (await store.session("ses_1", "me", BOUNDS)).status == "interrupted"
    assert (balance.used["cost"], balance.reserved["cost"]) == (Decimal("0.4"), Decimal(0))
    assert not isinstance(await store.begin(begin(claim=claim()), BOUNDS), ClaimRefused)
    await say(store, "again")
    assert await said(store) == ["again", "re: again"]
    await store.close()


async def test_the_session_of_a_process_that_ended_is_free_before_any_lease_has_passed(
    tmp_path: Path,
) -> None:
    ended, other = SqliteStore(tmp_path), SqliteStore(tmp_path)
    await turn_of(ended, begin_turn(new=True, expires_at=FAR))
    await ended.close()
    _, turn = await turn_of(other, begin_turn())
    assert turn.fence == 2
    await other.close()


async def test_lines_that_make_room_live_on_as_sums_by_day(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    asked = begin()
    await started(store, asked)
    lines = tuple(
        line(
            at=20_000 * DAY + number * DAY // 3,
            cost=None if number % 4 == 0 else Decimal("0.1") / 10**number,
            agent="ab"[number % 2],
        )
        for number in range(12)
    )
    await store.finish(finish(asked, lines=lines), BOUNDS)
    groups: tuple[UsageGroup, ...] = ("day", "agent")
    before = await store.usage_by(groups, since=0, until=FAR, principal=None)

    connection = database.connect_writer(tmp_path)
    for newest in (5, 8):
        ledger.trim(connection, newest)
    connection.close()

    page = await store.ledger(since=0, until=FAR, principal=None, limit=100, cursor=None)
    after = await store.usage_by(groups, since=0, until=FAR, principal=None)
    await store.close()
    assert len(page.items) == 4
    assert len(before) == 8
    assert after == before


async def test_events_and_lines_beyond_their_share_of_the_volume_make_room(
    store: SqliteStore,
) -> None:
    _write(store, "UPDATE pool SET kept_events = 50, kept_lines = 60")
    asked = begin()
    await started(store, asked)
    events = tuple(Event(f"evt_{number}", "turn.start", number) for number in range(1001))
    lines = tuple(line(id=f"use_{number}") for number in range(1001))
    await store.finish(finish(asked, lines=lines, events=events), BOUNDS)

    kept = await store.events(EventFilter(), limit=1000)
    page = await store.ledger(since=0, until=FAR, principal=None, limit=1000, cursor=None)
    (total,) = await store.usage_by((), since=0, until=FAR, principal=None)
    assert [stored.event.id for stored in kept] == [f"evt_{number}" for number in range(951, 1001)]
    assert len(page.items) == 60
    assert (total.uses, total.output_tokens, total.cost) == (1001, 5005, Decimal("100.1"))


async def test_a_small_volume_keeps_fewer_records_than_a_large_one_may(store: SqliteStore) -> None:
    events, lines = _query(store, "SELECT kept_events, kept_lines FROM pool")
    volume = shutil.disk_usage(store._file.directory).total
    assert 0 < events * event_rows.EVENT_BYTES <= volume / 8
    assert 0 < lines * ledger.LINE_BYTES <= volume / 16


async def test_a_file_of_the_first_release_goes_on_with_all_it_holds(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / database.FILE)
    connection.executescript(schema.MIGRATIONS[0] + "PRAGMA user_version = 1;")
    _as_the_first_release_writes(connection, "ses_old")
    store = SqliteStore(tmp_path)
    _as_the_first_release_writes(connection, "ses_meanwhile")
    connection.close()

    for session_id in ("ses_old", "ses_meanwhile"):
        assert await said(store, session_id) == ["hi"]
        await say(store, "and now", session_id)
        assert await said(store, session_id) == ["hi", "and now", "re: and now"]
    listed = await store.sessions("me", BOUNDS, limit=10, cursor=None)
    page = await store.ledger(since=0, until=FAR, principal=None, limit=10, cursor=None)
    assert {session.id for session in listed.items} == {"ses_old", "ses_meanwhile"}
    assert [use.id for use in page.items[2:]] == ["2", "1"]
    assert page.items[-1].cost == Decimal("0.1")
    await store.delete("ses_old", "me")
    assert (await store.usage()).sessions == 1
    await store.close()


def _as_the_first_release_writes(connection: sqlite3.Connection, session_id: str) -> None:
    with connection:
        connection.execute(
            "INSERT INTO sessions (id, principal, agent, package, version, status, created_at, "
            "updated_at, metadata, bytes, turns, messages) VALUES "
            "(?, 'me', 'assistant', 'helper', '1.0.0', 'completed', 1, 2, '{}', 600, 1, 1)",
            (session_id,),
        )
        connection.execute(
            "INSERT INTO messages (session_id, sequence, turn, role, content, tokens, created_at) "
            "VALUES (?, 1, 1, 'user', 'hi', 3, 2)",
            (session_id,),
        )
        connection.execute(
            "INSERT INTO ledger (session_id, agent, package, version, model, input_tokens, "
            "output_tokens, cost, created_at) VALUES (?, 'assistant', 'helper', '1.0.0', 'm', 3, "
            "5, '0.1', 2)",
            (session_id,),
        )
        connection.execute("UPDATE pool SET used_bytes = used_bytes + 600, sessions = sessions + 1")


async def test_a_file_that_is_up_to_date_is_opened_without_a_write(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await say(store, "hello", new=True)
    before = _wal_commits(tmp_path)
    another = SqliteStore(tmp_path)
    await another.recover()
    assert _wal_commits(tmp_path) == before
    assert await said(another) == ["hello", "re: hello"]
    await another.close()
    await store.close()


async def test_a_damaged_file_is_set_aside_and_reported(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path)
    for number in range(50):
        await say(first, "hello" * 50, f"ses_{number}", new=True)
    await first.close()
    path = tmp_path / database.FILE
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 4] = b"\xaa" * (4096 * 3)
    path.write_bytes(content)

    store = SqliteStore(tmp_path)

    assert store.set_aside is not None
    assert store.set_aside.read_bytes() == bytes(content)
    assert (await store.usage()).sessions == 0
    await say(store, "again", new=True)
    await store.close()


async def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / database.FILE).write_bytes(b"garbage" * 1000)
    store = SqliteStore(tmp_path)
    assert store.set_aside is not None
    await store.close()


async def test_a_newer_releases_file_is_neither_opened_nor_set_aside(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.close()
    connection = sqlite3.connect(tmp_path / database.FILE)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(schema.NewerSchemaError, match="schema version 99"):
        SqliteStore(tmp_path)
    assert not _set_aside(tmp_path)


async def test_damage_found_while_serving_refuses_everything_until_a_restart(
    tmp_path: Path,
) -> None:
    store = SqliteStore(tmp_path)
    for number in range(200):
        await say(store, "hello" * 100, f"ses_{number}", new=True)
    _checkpoint(tmp_path)
    with (tmp_path / database.FILE).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xaa" * 2**20)
    with pytest.raises(Problem):
        await _read_all(store, 200)
    assert store.corrupt
    with pytest.raises(Problem, match="damaged"):
        await store.usage()
    await store.close()


def _set_aside(directory: Path) -> list[Path]:
    return list(directory.glob("*corrupt*"))


async def _read_all(store: SqliteStore, count: int) -> None:
    for number in range(count):
        await store.messages(f"ses_{number}", "me", BOUNDS, limit=10, cursor=None)


def _query(store: SqliteStore, sql: str) -> tuple[Any, ...]:
    connection = sqlite3.connect(store._file.directory / database.FILE)
    try:
        return tuple(connection.execute(sql).fetchone())
    finally:
        connection.close()


def _write(store: SqliteStore, sql: str) -> None:
    connection = sqlite3.connect(store._file.directory / database.FILE)
    with connection:
        connection.execute(sql)
    connection.close()


def _checkpoint(directory: Path) -> None:
    connection = sqlite3.connect(directory / database.FILE)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()


def _wal_commits(directory: Path) -> int:
    """Count commit frames: those whose header names the size of the database after them."""
    wal = (directory / f"{database.FILE}-wal").read_bytes()
    page_size = int.from_bytes(wal[8:12], "big")
    frames = range(32, len(wal), 24 + page_size)
    salt = wal[16:24]
    return sum(
        1
        for at in frames
        if wal[at + 8 : at + 16] == salt and int.from_bytes(wal[at + 4 : at + 8], "big")
    )
