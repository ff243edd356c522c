import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.models.port import ModelMessage, ToolCall
from bulkhead_runtime.store.port import (
    BeginTurn,
    FinishTurn,
    LedgerEntry,
    NewSession,
    PoolBounds,
    SessionStatus,
    Turn,
)
from bulkhead_runtime.store.sqlite import SqliteStore, database, schema

BOUNDS = PoolBounds("default", 64, None)
FAR = 2**50


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path)
    yield opened
    await opened.close()


def _new(session_id: str = "ses_1", principal: str = "me", version: str = "1.0.0") -> NewSession:
    return NewSession(session_id, principal, "assistant", "helper", version)


def _begin(session_id: str = "ses_1", *, new: bool = False, principal: str = "me") -> BeginTurn:
    return BeginTurn(
        session_id=session_id,
        principal=principal,
        package="helper",
        version="1.0.0",
        new=_new(session_id) if new else None,
        expected_bytes=100,
        expires_at=FAR,
        tail=50,
    )


def _finish(
    turn: Turn,
    *messages: ModelMessage,
    status: SessionStatus = "completed",
    cost: str | None = "0.1",
) -> FinishTurn:
    entry = LedgerEntry("assistant", "helper", "1.0.0", "offline/echo", 3, 5, cost, turn.session_id)
    return FinishTurn(turn, status, messages, entry)


async def _turn(
    store: SqliteStore, text: str, session_id: str = "ses_1", *, new: bool = False
) -> None:
    turn = await store.begin_turn(_begin(session_id, new=new), BOUNDS)
    user, answer = ModelMessage("user", text), ModelMessage("assistant", f"re: {text}")
    await store.finish_turn(_finish(turn, user, answer), BOUNDS)


async def test_a_turn_is_there_for_whoever_opens_the_file_next(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path)
    await _turn(first, "hello", new=True)
    await first.close()

    second = SqliteStore(tmp_path)
    page = await second.messages("ses_1", "me", BOUNDS, limit=10, cursor=None)
    session = await second.session("ses_1", "me", BOUNDS)
    await second.close()

    assert [item.message.content for item in page.items] == ["hello", "re: hello"]
    assert (session.turns, session.messages, session.status) == (1, 2, "completed")
    assert (session.input_tokens, session.output_tokens, session.cost) == (3, 5, "0.1")


async def test_the_next_turn_sees_the_tail_and_costs_add_up_exactly(store: SqliteStore) -> None:
    await _turn(store, "one", new=True)
    await _turn(store, "two")
    turn = await store.begin_turn(_begin(), BOUNDS)
    assert [message.content for message in turn.history] == ["one", "re: one", "two", "re: two"]
    assert (await store.session("ses_1", "me", BOUNDS)).cost == "0.2"


async def test_the_tail_begins_with_a_user_even_when_it_cuts_a_turn(store: SqliteStore) -> None:
    await _turn(store, "one", new=True)
    await _turn(store, "two")
    turn = await store.begin_turn(replace(_begin(), tail=3), BOUNDS)
    assert [message.content for message in turn.history] == ["two", "re: two"]


async def test_tool_calls_and_results_come_back_as_they_were(store: SqliteStore) -> None:
    turn = await store.begin_turn(_begin(new=True), BOUNDS)
    messages = (
        ModelMessage("user", "time?"),
        ModelMessage("assistant", "", (ToolCall("c1", "current_time", '{"timezone":"UTC"}'),)),
        ModelMessage("tool", '{"ok":true}', tool_call_id="c1"),
        ModelMessage("assistant", "noon"),
    )
    await store.finish_turn(_finish(turn, *messages), BOUNDS)
    page = await store.messages("ses_1", "me", BOUNDS, limit=10, cursor=None)
    assert tuple(item.message for item in page.items) == messages


async def test_two_processes_never_hold_one_session_at_once(tmp_path: Path) -> None:
    one, other = SqliteStore(tmp_path), SqliteStore(tmp_path)
    turn = await one.begin_turn(_begin(new=True), BOUNDS)
    with pytest.raises(Problem, match="Another turn") as refused:
        await other.begin_turn(_begin(), BOUNDS)
    assert (refused.value.status, refused.value.code) == (409, "session_busy")

    await one.finish_turn(_finish(turn, ModelMessage("user", "x")), BOUNDS)
    await other.begin_turn(_begin(), BOUNDS)
    await one.close()
    await other.close()


async def test_a_holder_that_lost_its_session_stores_nothing(tmp_path: Path) -> None:
    slow, other = SqliteStore(tmp_path), SqliteStore(tmp_path)
    expired = replace(_begin(new=True), expires_at=int(time.time() * 1000) - 1)
    lost = await slow.begin_turn(expired, BOUNDS)
    taken = await other.begin_turn(_begin(), BOUNDS)

    with pytest.raises(Problem, match="not stored") as refused:
        await slow.finish_turn(_finish(lost, ModelMessage("user", "late")), BOUNDS)
    await other.finish_turn(_finish(taken, ModelMessage("user", "in time")), BOUNDS)

    assert refused.value.code == "turn_lost"
    page = await other.messages("ses_1", "me", BOUNDS, limit=10, cursor=None)
    assert [item.message.content for item in page.items] == ["in time"]
    await slow.close()
    await other.close()


async def test_another_principals_session_is_indistinguishable_from_none(
    store: SqliteStore,
) -> None:
    await _turn(store, "mine", new=True)
    answers = []
    for session_id, principal in (("ses_1", "you"), ("ses_none", "you")):
        with pytest.raises(Problem) as refused:
            await store.session(session_id, principal, BOUNDS)
        answers.append((refused.value.status, refused.value.code, refused.value.message))
        with pytest.raises(Problem):
            await store.begin_turn(_begin(session_id, principal=principal), BOUNDS)
        with pytest.raises(Problem):
            await store.delete(session_id, principal)
    assert answers[0] == answers[1]
    assert (await store.sessions("you", BOUNDS, limit=10, cursor=None)).items == ()


async def test_sessions_and_messages_come_in_pages_without_gap_or_repeat(
    store: SqliteStore,
) -> None:
    for number in range(7):
        await _turn(store, "first", f"ses_{number}", new=True)
    await _turn(store, "second", "ses_3")

    listed, cursor = [], None
    while True:
        page = await store.sessions("me", BOUNDS, limit=3, cursor=cursor)
        listed += [session.id for session in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    sequences, cursor = [], None
    while True:
        messages = await store.messages("ses_3", "me", BOUNDS, limit=3, cursor=cursor)
        sequences += [item.sequence for item in messages.items]
        cursor = messages.next_cursor
        if cursor is None:
            break

    assert sorted(listed) == [f"ses_{number}" for number in range(7)]
    assert sequences == [1, 2, 3, 4]


@pytest.mark.parametrize("cursor", ["x", "-1", "9" * 40, "1e3", "٣"])
async def test_a_cursor_that_we_did_not_give_is_refused(store: SqliteStore, cursor: str) -> None:
    await _turn(store, "hello", new=True)
    with pytest.raises(Problem, match="`cursor` must be"):
        await store.messages("ses_1", "me", BOUNDS, limit=3, cursor=cursor)


async def test_a_full_pool_refuses_the_turn_before_it_runs(store: SqliteStore) -> None:
    tiny = PoolBounds("small", 1, None)
    request = replace(_begin(new=True), expected_bytes=2**20)
    with pytest.raises(Problem, match=r"'small' has no room.*maxMemoryMB is 1") as refused:
        await store.begin_turn(request, tiny)
    assert refused.value.status == 507
    assert (await store.usage()).sessions == 0


async def test_an_answer_that_does_not_fit_is_refused_whole_but_what_it_used_counts(
    store: SqliteStore,
) -> None:
    tiny = PoolBounds("small", 1, None)
    turn = await store.begin_turn(_begin(new=True), tiny)
    huge = (ModelMessage("user", "x"), ModelMessage("assistant", "y" * 2**20))
    with pytest.raises(Problem, match="has no room"):
        await store.finish_turn(_finish(turn, *huge), tiny)

    session = await store.session("ses_1", "me", tiny)
    assert (session.messages, session.status, session.output_tokens) == (0, "error", 5)
    assert (await store.usage()).used_bytes < 2**20
    await store.begin_turn(_begin(), tiny)


async def test_the_pools_counters_equal_what_lies_in_it_and_return_to_zero(
    store: SqliteStore,
) -> None:
    for number in range(5):
        await _turn(store, "hello" * number, f"ses_{number}", new=True)
    (used,) = _query(store, "SELECT sum(bytes) FROM sessions")
    assert ((await store.usage()).used_bytes, (await store.usage()).sessions) == (used, 5)
    assert await store.sessions_by_version() == {("helper", "1.0.0"): 5}

    for number in range(5):
        await store.delete(f"ses_{number}", "me")

    assert ((await store.usage()).used_bytes, (await store.usage()).sessions) == (0, 0)
    assert await store.sessions_by_version() == {}
    assert (await store.usage()).archived_bytes == used
    assert _query(store, "SELECT count(*) FROM ledger") == (5,)


async def test_a_session_that_moves_to_another_version_is_counted_there(store: SqliteStore) -> None:
    await _turn(store, "one", new=True)
    turn = await store.begin_turn(replace(_begin(), version="2.0.0"), BOUNDS)
    await store.finish_turn(_finish(turn), BOUNDS)
    assert (await store.session("ses_1", "me", BOUNDS)).version == "2.0.0"
    assert await store.sessions_by_version() == {("helper", "2.0.0"): 1}


async def test_an_expired_session_reads_as_none_and_is_removed(store: SqliteStore) -> None:
    await _turn(store, "old", new=True)
    await _turn(store, "new", "ses_2", new=True)
    _write(store, "UPDATE sessions SET updated_at = updated_at - 61000 WHERE id = 'ses_1'")
    minute = replace(BOUNDS, retention_seconds=60)

    with pytest.raises(Problem):
        await store.session("ses_1", "me", minute)
    listed = (await store.sessions("me", minute, limit=10, cursor=None)).items
    swept = await store.sweep(minute)
    _write(store, "UPDATE sessions SET archived_at = archived_at - 61000")
    again = await store.sweep(minute)

    assert [session.id for session in listed] == ["ses_2"]
    assert [session.id for session in swept.expired] == ["ses_1"]
    assert (swept.removed, again.removed) == (0, 1)
    assert _query(store, "SELECT count(*) FROM messages WHERE session_id = 'ses_1'") == (0,)


async def test_a_session_in_a_turn_does_not_expire(store: SqliteStore) -> None:
    await _turn(store, "old", new=True)
    await store.begin_turn(_begin(), BOUNDS)
    _write(store, "UPDATE sessions SET updated_at = updated_at - 61000")
    assert (await store.sweep(replace(BOUNDS, retention_seconds=60))).expired == ()


async def test_many_turns_at_once_share_a_commit(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    turns = [
        await store.begin_turn(_begin(f"ses_{number}", new=True), BOUNDS) for number in range(200)
    ]
    before = _wal_commits(tmp_path)
    message = ModelMessage("user", "x")
    await asyncio.gather(*(store.finish_turn(_finish(turn, message), BOUNDS) for turn in turns))
    commits = _wal_commits(tmp_path) - before
    await store.close()
    assert 1 <= commits <= 20


async def test_a_turn_that_fails_midway_leaves_nothing_of_itself_and_the_others_alone(
    store: SqliteStore,
) -> None:
    requests = [_begin(f"ses_{number}", new=True) for number in range(6)]
    requests[3] = replace(requests[3], principal="somebody else than its new session")
    requests[4] = replace(requests[4], session_id="ses_0", new=_new("ses_0"))

    results = await asyncio.gather(
        *(store.begin_turn(request, BOUNDS) for request in requests), return_exceptions=True
    )

    failed = [isinstance(result, Exception) for result in results]
    assert failed == [False, False, False, True, True, False]
    assert (await store.usage()).sessions == 4
    with pytest.raises(Problem):
        await store.session("ses_3", "me", BOUNDS)


async def test_a_damaged_file_is_set_aside_and_reported(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path)
    for number in range(50):
        await _turn(first, "hello" * 50, f"ses_{number}", new=True)
    await first.close()
    path = tmp_path / database.FILE
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 4] = b"\xaa" * (4096 * 3)
    path.write_bytes(content)

    store = SqliteStore(tmp_path)

    assert store.set_aside is not None
    assert store.set_aside.read_bytes() == bytes(content)
    assert (await store.usage()).sessions == 0
    await _turn(store, "again", new=True)
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
        await _turn(store, "hello" * 100, f"ses_{number}", new=True)
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


def _query(store: SqliteStore, sql: str) -> tuple[object, ...]:
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
