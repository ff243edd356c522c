"""Transactions and queries on sessions outside a turn."""

import sqlite3

import orjson

from bulkhead_runtime import errors
from bulkhead_runtime.store import cursors, refusals
from bulkhead_runtime.store.port import (
    MessagePage,
    NewSession,
    PoolBounds,
    Session,
    SessionPage,
    Summary,
)
from bulkhead_runtime.store.sizes import session_bytes
from bulkhead_runtime.store.sqlite import pool, rows

_WINDOW = refusals.MINUTE_SECONDS + 1
"""The oldest second counts whole until it has left: no minute ever holds more than the limit."""


def expired(updated_at: int, bounds: PoolBounds, now: int) -> bool:
    """Tell whether a session's last activity is too far back for it to be seen."""
    idle = bounds.idle_seconds
    return idle is not None and updated_at + idle * rows.MILLISECONDS < now


def visible(owner: str, principal: str | None) -> bool:
    """Tell whether `principal` sees what `owner` has; None sees all."""
    return principal is None or owner == principal


def insert(connection: sqlite3.Connection, new: NewSession, bounds: PoolBounds, now: int) -> None:
    """Store a session without messages, within what may begin."""
    _count_start(connection, bounds, now)
    owned = pool.count_principal(connection, new.principal, 1)
    limit = bounds.sessions.per_principal
    if limit is not None and owned > limit:
        raise refusals.too_many_sessions(limit)
    size = session_bytes(new)
    connection.execute(
        "INSERT INTO sessions (id, principal, agent, package, version, status, created_at, "
        "updated_at, metadata, bytes, title, autonomy_level) "
        "VALUES (?, ?, ?, ?, ?, 'idle', ?, ?, ?, ?, ?, ?)",
        (
            new.id,
            new.principal,
            new.agent,
            new.package,
            new.version,
            now,
            now,
            orjson.dumps(dict(new.metadata)).decode(),
            size,
            new.title,
            new.autonomy_level,
        ),
    )
    pool.add(connection, new.package, new.version, size=size, sessions=1)


def create(
    connection: sqlite3.Connection, new: NewSession, bounds: PoolBounds, now: int
) -> Session:
    """Store a session that the pool has room for."""
    pool.need(connection, session_bytes(new), bounds)
    insert(connection, new, bounds, now)
    return find(connection, new.id, new.principal, bounds, now)


def find(
    connection: sqlite3.Connection,
    session_id: str,
    principal: str | None,
    bounds: PoolBounds,
    now: int,
) -> Session:
    """Return a session; one that is unknown, gone or another principal's is a 404."""
    row = connection.execute(
        f"SELECT {rows.SESSION_COLUMNS} FROM sessions "  # noqa: S608 (constant)
        "WHERE id = ? AND archived_at IS NULL",
        (session_id,),
    ).fetchone()
    if row is None:
        raise errors.unknown_session()
    session = rows.to_session(row, bounds)
    if not visible(session.principal, principal) or expired(session.updated_at, bounds, now):
        raise errors.unknown_session()
    return session


def page(
    connection: sqlite3.Connection,
    principal: str | None,
    bounds: PoolBounds,
    now: int,
    *,
    limit: int,
    cursor: str | None,
) -> SessionPage:
    """Return sessions after the cursor, newest first, without those that are gone."""
    created_at, session_id = _session_cursor(cursor)
    idle = bounds.idle_seconds
    not_before = 0 if idle is None else now - idle * rows.MILLISECONDS
    mine, owner = ("", ()) if principal is None else ("AND principal = ? ", (principal,))
    found = connection.execute(
        f"SELECT {rows.SESSION_COLUMNS} FROM sessions WHERE archived_at IS NULL {mine}"  # noqa: S608 (constants)
        "AND (created_at, id) < (?, ?) AND updated_at >= ? "
        "ORDER BY created_at DESC, id DESC LIMIT ?",
        (*owner, created_at, session_id, not_before, limit + 1),
    ).fetchall()
    items = tuple(rows.to_session(row, bounds) for row in found[:limit])
    more = len(found) > limit
    return SessionPage(items, f"{items[-1].created_at}.{items[-1].id}" if more else None)


def messages(
    connection: sqlite3.Connection, session_id: str, *, limit: int, cursor: str | None
) -> MessagePage:
    """Return a session's messages after the cursor, oldest first."""
    found = connection.execute(
        f"SELECT {rows.MESSAGE_COLUMNS} FROM messages "  # noqa: S608 (constant)
        "WHERE session_id = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        (session_id, cursors.number(cursor or "0"), limit + 1),
    ).fetchall()
    items = tuple(rows.to_stored_message(row) for row in found[:limit])
    return MessagePage(items, str(items[-1].sequence) if len(found) > limit else None)


def by_version(connection: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """Return how many sessions each version has."""
    found = connection.execute("SELECT package, version, sessions FROM version_sessions")
    return {(package, version): sessions for package, version, sessions in found}


def delete(
    connection: sqlite3.Connection, session_id: str, principal: str | None, now: int
) -> None:
    """Archive a session of this principal; raise a 404 `Problem` when there is none."""
    row = connection.execute(
        "SELECT principal FROM sessions WHERE id = ? AND archived_at IS NULL", (session_id,)
    ).fetchone()
    if row is None or not visible(row[0], principal):
        raise errors.unknown_session()
    pool.archive(connection, session_id, now)


def summarize(connection: sqlite3.Connection, summary: Summary) -> None:
    """Put a summary in the place of the former, unless that reaches as far."""
    row = connection.execute(
        "SELECT summary, package, version FROM sessions "
        "WHERE id = ? AND archived_at IS NULL AND summary_until < ?",
        (summary.session_id, summary.until),
    ).fetchone()
    if row is None:
        return
    former, package, version = row
    size = len(summary.text.encode()) - len((former or "").encode())
    connection.execute(
        "UPDATE sessions SET summary = ?, summary_until = ?, compactions = compactions + 1, "
        "bytes = bytes + ? WHERE id = ?",
        (summary.text, summary.until, size, summary.session_id),
    )
    pool.add(connection, package, version, size=size, sessions=0)


def _count_start(connection: sqlite3.Connection, bounds: PoolBounds, now: int) -> None:
    """Count one session that begins; refuse one too many within a minute."""
    limit = bounds.sessions.per_minute
    if limit is None:
        return
    second = now // rows.MILLISECONDS
    connection.execute("DELETE FROM session_starts WHERE second <= ?", (second - _WINDOW,))
    oldest, begun = connection.execute(
        "SELECT min(second), coalesce(sum(sessions), 0) FROM session_starts"
    ).fetchone()
    if begun >= limit:
        raise refusals.too_many_new_sessions(limit, oldest + _WINDOW - now / rows.MILLISECONDS)
    connection.execute(
        "INSERT INTO session_starts (second, sessions) VALUES (?, 1) "
        "ON CONFLICT (second) DO UPDATE SET sessions = sessions + 1",
        (second,),
    )


def _session_cursor(cursor: str | None) -> tuple[int, str]:
    if cursor is None:
        return cursors.NEWEST, ""
    created_at, _, session_id = cursor.partition(".")
    return cursors.number(created_at), session_id
