"""One thread that writes, many turns per fsync.

Work that arrives while a commit is under way shares the next one: each piece in its own savepoint,
all of them in one transaction, acknowledged after it is on disk. A piece that is alone needs no
savepoint, for which SQLite would copy every page that it changes. Work that may be lost with the
machine's power (locks, which then mean nothing) is committed without waiting for the disk.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from bulkhead_runtime import errors
from bulkhead_runtime.store.sqlite import database

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

MAX_BATCH = 256
MAX_WAITING = 10_000


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    durable: bool
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class GroupWriter:
    """Runs work against the database in the order it came; belongs to one event loop.

    The connection is the thread's own from now on, which closes it in the end.
    """

    def __init__(
        self, connection: sqlite3.Connection, failed: Callable[[BaseException], None]
    ) -> None:
        self._connection = connection
        self._failed = failed
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._synchronous = "FULL"
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Work[Result], *, durable: bool = True) -> Result:
        """Run `work` in a transaction; return when it is committed, durably if asked.

        Raises what `work` raised, or a 503 or 507 `Problem` when the commit failed.
        """
        future: asyncio.Future[Result] = self._loop.create_future()
        self._put(_Job(work, durable, future))
        return await future

    async def close(self) -> None:
        """Finish what waits and end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    def _put(self, job: _Job) -> None:
        if self._closed or self._queue.qsize() >= MAX_WAITING:
            raise errors.store_unavailable("The conversation store is overloaded or closing.")
        self._queue.put(job)

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._commit(self._connection, batch)
            self._loop.call_soon_threadsafe(_settle, batch)
        self._connection.close()

    def _next_batch(self) -> list[_Job] | None:
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < MAX_BATCH:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._queue.put(None)
                break
            batch.append(job)
        return batch

    def _commit(self, connection: sqlite3.Connection, batch: list[_Job]) -> None:
        try:
            self._set_synchronous(connection, any(job.durable for job in batch))
            connection.execute("BEGIN IMMEDIATE")
            if len(batch) == 1:
                _run_alone(connection, batch[0])
                return
            for job in batch:
                _run_beside_others(connection, job)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                # Where even this fails, the next one finds the transaction open, and is refused
                # and tries again: without this thread everybody would wait for ever.
                connection.execute("ROLLBACK")
            self._failed(error)
            problem = as_problem(error)
            for job in batch:
                job.error = problem

    def _set_synchronous(self, connection: sqlite3.Connection, durable: bool) -> None:
        wanted = "FULL" if durable else "NORMAL"
        if wanted != self._synchronous:
            connection.execute(f"PRAGMA synchronous = {wanted}")
            self._synchronous = wanted


def _run_alone(connection: sqlite3.Connection, job: _Job) -> None:
    connection.execute("ROLLBACK" if _refused(connection, job) else "COMMIT")


def _run_beside_others(connection: sqlite3.Connection, job: _Job) -> None:
    connection.execute("SAVEPOINT job")
    if _refused(connection, job):
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _refused(connection: sqlite3.Connection, job: _Job) -> bool:
    """Do the work; tell whether it is to be taken back. What fails all of a batch is raised."""
    try:
        job.result = job.work(connection)
    except Exception as error:
        if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
            raise
        job.error = error
    return job.error is not None


def _settle(batch: list[_Job]) -> None:
    for job in batch:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


def as_problem(error: sqlite3.Error) -> errors.Problem:
    """Return what a client may know of an error of SQLite."""
    code = database.primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        return errors.store_full()
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return errors.store_unavailable("The conversation store is busy. Try again.")
    if database.is_corrupt(error):
        return damaged()
    return errors.store_unavailable("The conversation store could not be read or written.")


def damaged() -> errors.Problem:
    """Return the answer once the file is known to be damaged."""
    return errors.store_unavailable(
        "The conversation store is damaged. The runtime restarts and sets it aside."
    )
