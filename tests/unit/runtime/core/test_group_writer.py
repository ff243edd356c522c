import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bulkhead_runtime.errors import Problem, unknown_session
from bulkhead_runtime.store.sqlite import database
from bulkhead_runtime.store.sqlite.writer import GroupWriter, Work


class Notes:
    """A file of notes and the writer of it; `failures` are what the writer told of."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with sqlite3.connect(directory / database.FILE) as connection:
            connection.execute("CREATE TABLE notes (text TEXT PRIMARY KEY)")
            connection.execute(
                "CREATE TABLE replies (note TEXT REFERENCES notes DEFERRABLE INITIALLY DEFERRED)"
            )
        self.failures: list[BaseException] = []
        self.connection = database.connect_writer(directory)
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.writer = GroupWriter(self.connection, self.failures.append)

    def written(self) -> set[str]:
        connection = database.connect_reader(self._directory)
        try:
            return {text for (text,) in connection.execute("SELECT text FROM notes")}
        finally:
            connection.close()

    async def in_one_batch(self, *works: Work[Any]) -> list[Any]:
        """Run all in one transaction; return what each returned or raised."""
        running, go_on = threading.Event(), threading.Event()

        def hold(_: sqlite3.Connection) -> bool:
            running.set()
            return go_on.wait(60)

        held = asyncio.create_task(self.writer.run(hold))
        assert await asyncio.to_thread(running.wait, 60)
        asked = [asyncio.create_task(self.writer.run(work)) for work in works]
        await asyncio.sleep(0)
        go_on.set()
        assert await held
        return await asyncio.gather(*asked, return_exceptions=True)


@pytest.fixture
async def notes(tmp_path: Path) -> AsyncIterator[Notes]:
    made = Notes(tmp_path)
    yield made
    await made.writer.close()


def _note(text: str, connection: sqlite3.Connection) -> str:
    connection.execute("INSERT INTO notes VALUES (?)", (text,))
    return text


def _refuses(connection: sqlite3.Connection) -> None:
    _note("half", connection)
    raise unknown_session()


def _is_there_already(connection: sqlite3.Connection) -> None:
    _note("half", connection)
    _note("half", connection)


def _cannot_be_bound(connection: sqlite3.Connection) -> None:
    _note("half", connection)
    connection.execute("INSERT INTO notes VALUES (?)", (2**64,))


def _asks_for_no_table(connection: sqlite3.Connection) -> None:
    _note("half", connection)
    connection.execute("INSERT INTO nothing VALUES (1)")


def _fails_at_the_commit(connection: sqlite3.Connection) -> None:
    _note("half", connection)
    connection.execute("INSERT INTO replies VALUES ('to no note')")


OF_ITS_OWN: dict[str, tuple[Work[None], type[Exception]]] = {
    "a refusal": (_refuses, Problem),
    "a row that is there": (_is_there_already, sqlite3.IntegrityError),
    "a value that SQLite cannot hold": (_cannot_be_bound, OverflowError),
}
OF_ALL: dict[str, Work[None]] = {
    "no such table": _asks_for_no_table,
    "a commit that fails": _fails_at_the_commit,
}


@pytest.mark.parametrize(("work", "raised"), OF_ITS_OWN.values(), ids=OF_ITS_OWN)
async def test_work_that_fails_alone_leaves_nothing_and_the_writer_goes_on(
    notes: Notes, work: Work[None], raised: type[Exception]
) -> None:
    with pytest.raises(raised):
        await notes.writer.run(work)
    assert await notes.writer.run(partial(_note, "next")) == "next"
    assert notes.written() == {"next"}
    assert notes.failures == []


@pytest.mark.parametrize(("work", "raised"), OF_ITS_OWN.values(), ids=OF_ITS_OWN)
async def test_work_that_fails_beside_others_takes_back_its_own_part_alone(
    notes: Notes, work: Work[None], raised: type[Exception]
) -> None:
    first, failed, last = await notes.in_one_batch(
        partial(_note, "first"), work, partial(_note, "last")
    )
    assert (first, type(failed), last) == ("first", raised, "last")
    assert notes.written() == {"first", "last"}


@pytest.mark.parametrize("work", OF_ALL.values(), ids=OF_ALL)
async def test_what_fails_the_transaction_refuses_work_that_is_alone_in_it(
    notes: Notes, work: Work[None]
) -> None:
    with pytest.raises(Problem) as refused:
        await notes.writer.run(work)
    assert refused.value.status == 503
    assert len(notes.failures) == 1
    assert await notes.writer.run(partial(_note, "next")) == "next"
    assert notes.written() == {"next"}


@pytest.mark.parametrize("work", OF_ALL.values(), ids=OF_ALL)
async def test_what_fails_the_transaction_refuses_all_who_share_it(
    notes: Notes, work: Work[None]
) -> None:
    answers = await notes.in_one_batch(partial(_note, "first"), work, partial(_note, "last"))
    assert [getattr(answer, "status", None) for answer in answers] == [503, 503, 503]
    assert notes.written() == set()
    assert await notes.writer.run(partial(_note, "next")) == "next"


def _waits_for_the_disk(connection: sqlite3.Connection) -> bool:
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    return bool(synchronous == 2)


async def test_only_work_that_is_to_last_waits_for_the_disk(notes: Notes) -> None:
    asked = [
        await notes.writer.run(_waits_for_the_disk, durable=durable)
        for durable in (True, False, True)
    ]
    assert asked == [True, False, True]


async def test_a_transaction_that_could_not_be_taken_back_is_before_the_next_one(
    notes: Notes,
) -> None:
    def deny(action: int, what: str | None, *_: str | None) -> int:
        denied = action == sqlite3.SQLITE_TRANSACTION and what == "ROLLBACK"
        return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK

    notes.connection.set_authorizer(deny)
    for work in (_refuses, _asks_for_no_table, partial(_note, "not now")):
        with pytest.raises(Problem):
            await notes.writer.run(work)
    notes.connection.set_authorizer(None)
    with pytest.raises(Problem):
        await notes.writer.run(partial(_note, "not yet"))
    assert await notes.writer.run(partial(_note, "next")) == "next"
    assert notes.written() == {"next"}
