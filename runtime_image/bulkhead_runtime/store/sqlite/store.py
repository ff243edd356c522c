"""The embedded store of record: conversations, and the parts beside them, over one file."""

import logging
import sqlite3
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.store.port import (
    MessagePage,
    NewSession,
    PoolBounds,
    PoolUsage,
    Session,
    SessionPage,
    Swept,
    Turn,
)
from bulkhead_runtime.store.sqlite import database, expiry, pool, sessions, turns, work
from bulkhead_runtime.store.sqlite.access import FileAccess, now
from bulkhead_runtime.store.sqlite.holders import Holder
from bulkhead_runtime.store.sqlite.records import SqliteRecords
from bulkhead_runtime.store.sqlite.spending import SqliteSpending
from bulkhead_runtime.store.sqlite.turns import asked_to_end
from bulkhead_runtime.store.sqlite.writer import as_problem
from bulkhead_runtime.store.states import SessionStatus

log = logging.getLogger(__name__)


class SqliteStore(SqliteSpending, SqliteRecords):
    """Keeps everything of one organization in one directory.

    Raises a 503 or 507 `Problem` where its file cannot be opened.
    """

    def __init__(self, directory: Path) -> None:
        self.set_aside = _prepared(directory)
        """Where a damaged database was moved to when this one was opened."""
        self._process = Holder(directory)
        SqliteRecords.__init__(self, FileAccess(directory))
        SqliteSpending.__init__(
            self, self._file, work.Holder(self._process.id, self._process.alive)
        )

    @property
    def corrupt(self) -> bool:
        """Tell whether the file is damaged; then only a restart helps."""
        return self._file.corrupt

    async def recover(self) -> None:
        """Free what processes that are gone were working on, later where the volume is full.

        What is stored can be read meanwhile, and a turn takes its session from the dead by itself.
        """
        try:
            released = await self.release_abandoned()
        except Problem as problem:
            if problem.status != HTTPStatus.INSUFFICIENT_STORAGE:
                raise
            log.warning("Interrupted work not released", extra={"reason": problem.message})
            return
        self._process.remove_dead()
        if released:
            log.warning("Interrupted work released", extra={"released": released})

    async def check(self) -> None:
        """Read the least there is; raise a 503 `Problem` when that fails."""
        self._file.read(pool.usage)

    async def close(self) -> None:
        """Finish what is being written and let go of the file."""
        await self._file.close()
        self._process.close()

    async def session(self, session_id: str, principal: str | None, bounds: PoolBounds) -> Session:
        """Return a session; raise a 404 `Problem` for any that is not this principal's."""
        return self._file.read(
            lambda connection: sessions.find(connection, session_id, principal, bounds, now())
        )

    async def sessions(
        self, principal: str | None, bounds: PoolBounds, *, limit: int, cursor: str | None
    ) -> SessionPage:
        """Return one page of a principal's sessions."""
        return self._file.read(
            lambda connection: sessions.page(
                connection, principal, bounds, now(), limit=limit, cursor=cursor
            )
        )

    async def messages(
        self,
        session_id: str,
        principal: str | None,
        bounds: PoolBounds,
        *,
        limit: int,
        cursor: str | None,
    ) -> MessagePage:
        """Return one page of a session's messages; raise a 404 `Problem` as `session` does."""

        def query(connection: sqlite3.Connection) -> MessagePage:
            sessions.find(connection, session_id, principal, bounds, now())
            return sessions.messages(connection, session_id, limit=limit, cursor=cursor)

        return self._file.read(query)

    async def usage(self) -> PoolUsage:
        """Return what the pool holds."""
        return self._file.read(pool.usage)

    async def sessions_by_version(self) -> Mapping[tuple[str, str], int]:
        """Return how many sessions exist per (package, version)."""
        return self._file.read(sessions.by_version)

    async def create(self, new: NewSession, bounds: PoolBounds) -> Session:
        """Store a session without any turn; durable when this returns."""
        return await self._file.writer.run(
            partial(sessions.create, new=new, bounds=bounds, now=now())
        )

    async def delete(self, session_id: str, principal: str | None) -> None:
        """Archive a session: it reads as none from now on, whatever turn it is in."""
        await self._file.writer.run(
            partial(sessions.delete, session_id=session_id, principal=principal, now=now())
        )

    async def mark(self, turn: Turn, status: SessionStatus) -> bool:
        """Show a running turn's state; False when the session is no longer this turn's."""
        return await self._file.writer.run(
            partial(turns.mark, turn=turn, status=status, owner=self._process.id), durable=False
        )

    async def interrupt(self, session_id: str) -> bool:
        """Ask for the end of the turn that holds a session; False where none does."""
        return await self._file.writer.run(
            partial(turns.ask_to_end, session_id=session_id), durable=False
        )

    async def interrupted(self, turns: tuple[Turn, ...]) -> frozenset[str]:
        """Return the sessions of running `turns` that were asked to end, or that were deleted."""
        return self._file.read(partial(asked_to_end, running=turns))

    async def sweep(self, bounds: PoolBounds) -> Swept:
        """Archive what expired and remove what is past the retention, a bounded number of each."""
        return await self._file.writer.run(partial(expiry.sweep, bounds=bounds, now=now()))


def _prepared(directory: Path) -> Path | None:
    try:
        return database.prepare(directory)
    except sqlite3.Error as error:
        raise as_problem(error) from error
