"""The embedded store: one SQLite file on the organization's volume.

Reads go straight to the file from the event loop's thread (tens of microseconds, never waiting
for a writer in WAL mode); writes go through the one writer thread.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from bulkhead_runtime import errors
from bulkhead_runtime.store.port import (
    BeginTurn,
    FinishTurn,
    LedgerEntry,
    MessagePage,
    NewSession,
    PoolBounds,
    PoolUsage,
    Session,
    SessionPage,
    Turn,
)
from bulkhead_runtime.store.sqlite import database, sessions, turns
from bulkhead_runtime.store.sqlite.holders import Holder
from bulkhead_runtime.store.sqlite.writer import GroupWriter, as_problem, damaged

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class SqliteStore:
    """Keeps conversations in one directory; opened and closed within one event loop."""

    def __init__(self, directory: Path) -> None:
        self.set_aside = database.prepare(directory)
        """Where a damaged database was moved to when this one was opened."""
        self.corrupt = False
        """True once SQLite said that the file is damaged; only a restart helps."""
        self._holder = Holder(directory)
        self._reader = database.connect_reader(directory)
        self._writer = GroupWriter(partial(database.connect_writer, directory), self._failed)
        self._directory = directory

    async def recover(self) -> None:
        """Free the sessions that processes which are gone were working on."""
        alive = self._holder.alive
        released = await self._writer.run(lambda connection: turns.release_dead(connection, alive))
        self._holder.remove_dead()
        if released:
            log.warning("Interrupted turns released", extra={"sessions": released})

    async def close(self) -> None:
        """Finish what is being written and let go of the file."""
        await self._writer.close()
        self._reader.close()
        self._holder.close()

    async def session(self, session_id: str, principal: str | None, bounds: PoolBounds) -> Session:
        """Return a session; raise a 404 `Problem` for any that is not this principal's."""
        return self._read(
            lambda connection: sessions.find(connection, session_id, principal, bounds, _now())
        )

    async def sessions(
        self, principal: str | None, bounds: PoolBounds, *, limit: int, cursor: str | None
    ) -> SessionPage:
        """Return one page of a principal's sessions."""
        retention = bounds.retention_seconds
        not_before = 0 if retention is None else _now() - retention * sessions.MILLISECONDS
        return self._read(
            lambda connection: sessions.page(
                connection, principal, not_before=not_before, limit=limit, cursor=cursor
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
            sessions.find(connection, session_id, principal, bounds, _now())
            return sessions.messages(connection, session_id, limit=limit, cursor=cursor)

        return self._read(query)

    async def usage(self) -> PoolUsage:
        """Return what the pool holds."""
        return self._read(sessions.usage)

    async def sessions_by_version(self) -> Mapping[tuple[str, str], int]:
        """Return how many sessions exist per (package, version)."""
        return self._read(sessions.by_version)

    async def oldest_activity(self) -> int | None:
        """Return when the session that was quiet longest was last active."""
        return self._read(sessions.oldest_activity)

    async def create(self, new: NewSession, bounds: PoolBounds) -> Session:
        """Store a session without any turn; durable when this returns."""
        now = _now()
        return await self._writer.run(
            lambda connection: sessions.create(connection, new, bounds, now)
        )

    async def delete(self, session_id: str, principal: str | None) -> None:
        """Remove a session with its messages; what it used stays in the ledger."""
        await self._writer.run(
            lambda connection: sessions.delete(connection, session_id, principal)
        )

    async def begin_turn(self, request: BeginTurn, bounds: PoolBounds) -> Turn:
        """Lock the session for one turn and load the tail of its messages.

        Not durable by itself: a lock that is lost with the power of the machine locks nothing.
        """
        return await self._writer.run(
            partial(
                turns.begin,
                request=request,
                bounds=bounds,
                owner=self._holder.id,
                alive=self._holder.alive,
                now=_now(),
            ),
            durable=False,
        )

    async def finish_turn(self, finish: FinishTurn, bounds: PoolBounds) -> None:
        """Store the turn and release the session; durable when this returns."""
        outcome = await self._writer.run(
            partial(turns.finish, finish=finish, bounds=bounds, owner=self._holder.id, now=_now())
        )
        if outcome == "pool_full":
            raise errors.pool_full(bounds.name, bounds.max_memory_mb)
        if outcome == "lost":
            raise errors.Problem(
                409,
                "turn_lost",
                "The session was deleted or continued by another turn meanwhile, so this turn was "
                "not stored.",
            )

    def record_use(self, entry: LedgerEntry) -> None:
        """Write a use outside any session to the ledger, without waiting for it."""
        now = _now()
        try:
            self._writer.submit(lambda connection: turns.record(connection, entry, now))
        except errors.Problem as problem:
            log.warning("Use not recorded", extra={"reason": problem.message})

    async def remove_expired(self, bounds: PoolBounds) -> int:
        """Remove a bounded number of sessions past the retention; return how many."""
        now = _now()
        return await self._writer.run(
            lambda connection: sessions.remove_expired(connection, bounds, now)
        )

    def _read(self, query: Callable[[sqlite3.Connection], Result]) -> Result:
        if self.corrupt:
            raise damaged()
        try:
            return query(self._reader)
        except sqlite3.Error as error:
            self._failed(error)
            raise as_problem(error) from error

    def _failed(self, error: BaseException) -> None:
        if database.is_corrupt(error):
            self.corrupt = True
        log.error("Conversation store failed", extra={"reason": str(error)})


def _now() -> int:
    return time.time_ns() // 1_000_000
