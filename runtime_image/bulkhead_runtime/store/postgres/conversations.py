"""Sessions in PostgreSQL, outside and around their turns."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from bulkhead_runtime import errors
from bulkhead_runtime.store import cursors, states
from bulkhead_runtime.store.port import (
    ExpiredSession,
    MessagePage,
    NewSession,
    PoolBounds,
    PoolUsage,
    Session,
    SessionPage,
    Swept,
    Turn,
)
from bulkhead_runtime.store.postgres import decoding, encoding
from bulkhead_runtime.store.postgres.lane import Lane
from bulkhead_runtime.store.postgres.pool import Pool
from bulkhead_runtime.store.states import SessionStatus

SWEPT_AT_ONCE = 200
ARCHIVE_SECONDS = 30 * 24 * 3600
"""How long archived sessions are kept where the pool names no retention."""

ACCOUNT_DAYS = 400
"""How long the account of a day is kept: a year and what a report of it needs."""

_DAY_MS = 24 * 3600 * 1000

_SESSION = b"SELECT bulkhead.head($1)"
_SESSIONS = (
    f"SELECT {decoding.SESSION_COLUMNS} FROM bulkhead.sessions "  # noqa: S608 (constant)
    "WHERE archived_at IS NULL {mine}AND (created_at, id) < (%s, %s) AND updated_at >= %s "
    "ORDER BY created_at DESC, id DESC LIMIT %s"
)
# The messages and whether the session may be seen, in one question.
_MESSAGES = (
    f"SELECT seen.id, {decoding.MESSAGE_COLUMNS} FROM ("  # noqa: S608 (constant)
    "SELECT id FROM bulkhead.sessions WHERE id = %s AND archived_at IS NULL "
    "AND principal = coalesce(%s, principal) AND updated_at >= %s) AS seen "
    f"LEFT JOIN LATERAL (SELECT {decoding.MESSAGE_COLUMNS} FROM bulkhead.messages "
    "WHERE session_id = seen.id AND sequence > %s ORDER BY sequence LIMIT %s) AS page ON true "
    "ORDER BY sequence"
)
_USAGE = "SELECT used_bytes, sessions, archived_bytes FROM bulkhead.organizations"
_BY_VERSION = (
    "SELECT package, version, count(*) FROM bulkhead.sessions WHERE archived_at IS NULL "
    "GROUP BY package, version"
)
_INTERRUPT = (
    "UPDATE bulkhead.sessions SET interrupted_fence = fence "
    "WHERE id = %s AND lock_until > bulkhead.now_ms() RETURNING 1"
)
_INTERRUPTED = (
    "SELECT id, interrupted_fence, archived_at IS NOT NULL FROM bulkhead.sessions "
    "WHERE id = ANY(%s) AND (interrupted_fence > 0 OR archived_at IS NOT NULL)"
)
_SWEEP = "SELECT bulkhead.sweep(%s, %s, %s, %s)"


class Conversations:
    """The port `SessionStore`."""

    def __init__(self, pool: Pool, lane: Lane) -> None:
        self._pool = pool
        self._lane = lane

    async def session(self, session_id: str, principal: str | None, bounds: PoolBounds) -> Session:
        """Return a session; raise a 404 `Problem` for any that is not this principal's."""
        head = await self._pool.value(_SESSION, (session_id.encode(),))
        return visible(None if head is None else orjson.loads(head), principal, bounds)

    async def sessions(
        self, principal: str | None, bounds: PoolBounds, *, limit: int, cursor: str | None
    ) -> SessionPage:
        """Return one page of a principal's sessions."""
        mine, owner = ("", ()) if principal is None else ("AND principal = %s ", (principal,))
        found = await self._pool.ask(
            _SESSIONS.format(mine=mine),
            (*owner, *encoding.after(cursor), not_before(bounds), limit + 1),
        )
        items = tuple(decoding.session(row, bounds) for row in found[:limit])
        more = len(found) > limit
        return SessionPage(items, f"{items[-1].created_at}.{items[-1].id}" if more else None)

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
        after = cursors.number(cursor or "0")
        found = await self._pool.ask(
            _MESSAGES, (session_id, principal, not_before(bounds), after, limit + 1)
        )
        if not found:
            raise errors.unknown_session()
        rows = [row[1:] for row in found if row[1] is not None]
        items = tuple(map(decoding.stored_message, rows[:limit]))
        return MessagePage(items, str(items[-1].sequence) if len(rows) > limit else None)

    async def usage(self) -> PoolUsage:
        """Return what the pool holds."""
        ((used_bytes, sessions, archived_bytes),) = await self._pool.ask(_USAGE)
        return PoolUsage(used_bytes, sessions, archived_bytes)

    async def sessions_by_version(self) -> Mapping[tuple[str, str], int]:
        """Return how many sessions exist per (package, version)."""
        found = await self._pool.ask(_BY_VERSION)
        return {(package, version): sessions for package, version, sessions in found}

    async def create(self, new: NewSession, bounds: PoolBounds) -> Session:
        """Store a session without any turn; durable when this returns."""
        return decoding.session(await self._create(new, bounds), bounds)

    async def delete(self, session_id: str, principal: str | None) -> None:
        """Archive a session: it reads as none from now on, whatever turn it is in."""
        item = {"do": "delete", "session_id": session_id, "principal": principal}
        decoding.checked(await self._lane.do(encoding.encode(item)))

    async def mark(self, turn: Turn, status: SessionStatus) -> bool:
        """Show a running turn's state; False when the session is no longer this turn's.

        Raises `IllegalTransitionError` for what the table of states does not allow.
        """
        item = {
            "do": "mark",
            "session_id": turn.session_id,
            "fence": turn.fence,
            "status": status,
            "from": [known for known in states.STATUSES if _leads(known, status)],
        }
        answer = decoding.checked(await self._lane.do(encoding.encode(item)))
        if isinstance(answer, dict):
            raise states.IllegalTransitionError(answer["illegal"], status)
        return bool(answer)

    async def interrupt(self, session_id: str) -> bool:
        """Ask for the end of the turn that holds a session; False where none does."""
        return bool(await self._pool.ask(_INTERRUPT, (session_id,)))

    async def interrupted(self, turns: tuple[Turn, ...]) -> frozenset[str]:
        """Return the sessions of running `turns` that were asked to end, or that were deleted."""
        fences = {turn.session_id: turn.fence for turn in turns}
        found = await self._pool.ask(_INTERRUPTED, (list(fences),))
        return frozenset(
            session for session, fence, gone in found if gone or fence == fences[session]
        )

    async def sweep(self, bounds: PoolBounds) -> Swept:
        """Archive what expired and remove what is past the retention, a bounded number of each."""
        idle, retention = bounds.idle_seconds, bounds.retention_seconds
        ((done,),) = await self._pool.ask(
            _SWEEP,
            (
                None if idle is None else idle * encoding.MILLISECONDS,
                (ARCHIVE_SECONDS if retention is None else retention) * encoding.MILLISECONDS,
                ACCOUNT_DAYS * _DAY_MS,
                SWEPT_AT_ONCE,
            ),
        )
        expired = tuple(ExpiredSession(*pair) for pair in done["expired"])
        return Swept(expired, done["removed"], done["due_at"])

    async def _create(self, new: NewSession, bounds: PoolBounds) -> list[Any]:
        """Store a session and return its columns."""
        item = {
            "do": "create",
            "new": encoding.new_session(new),
            "bounds": encoding.bounds(bounds),
        }
        answer = await self._lane.do(encoding.encode(item))
        columns: list[Any] = decoding.checked(answer, bounds)
        return columns


def visible(head: Sequence[Any] | None, principal: str | None, bounds: PoolBounds) -> Session:
    """Return the session of these columns; raise a 404 `Problem` when it is not to be seen."""
    if head is None or principal not in {None, head[decoding.PRINCIPAL]}:
        raise errors.unknown_session()
    session = decoding.session(head, bounds)
    if session.updated_at < not_before(bounds):
        raise errors.unknown_session()
    return session


def not_before(bounds: PoolBounds) -> int:
    """Return the least time of the last activity of a session that is not gone."""
    idle = bounds.idle_seconds
    if idle is None:
        return 0
    return time.time_ns() // 1_000_000 - idle * encoding.MILLISECONDS


def _leads(current: SessionStatus, wanted: SessionStatus) -> bool:
    return current == wanted or wanted in states.ALLOWED[current]
