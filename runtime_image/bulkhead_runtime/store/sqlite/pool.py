"""The counters of the pool, and room in it: what is archived gives way, oldest first."""

import sqlite3

from bulkhead_runtime import errors
from bulkhead_runtime.store.port import PoolBounds, PoolUsage

EVICTED_AT_ONCE = 200
"""Archived sessions that one transaction removes at most, so that no turn waits long for room."""


def usage(connection: sqlite3.Connection) -> PoolUsage:
    """Return the counters."""
    row = connection.execute("SELECT used_bytes, sessions, archived_bytes FROM pool").fetchone()
    return PoolUsage(*row)


def need(connection: sqlite3.Connection, size: int, bounds: PoolBounds) -> None:
    """Make room for `size` bytes or raise a 507 `Problem`."""
    if not make_room(connection, size, bounds):
        raise errors.pool_full(bounds.name, bounds.max_memory_mb)


def make_room(connection: sqlite3.Connection, size: int, bounds: PoolBounds) -> bool:
    """Tell whether `size` bytes fit, after removing archived sessions where that helps."""
    live, archived = connection.execute(
        "SELECT used_bytes + answer_bytes, archived_bytes FROM pool"
    ).fetchone()
    free = bounds.max_bytes - live - size
    if free < 0 or archived <= free:
        return bool(free >= 0)
    oldest = connection.execute(
        "SELECT id, bytes FROM sessions WHERE archived_at IS NOT NULL ORDER BY archived_at LIMIT ?",
        (EVICTED_AT_ONCE,),
    ).fetchall()
    for session_id, held in oldest:
        if archived <= free:
            break
        remove_archived(connection, session_id)
        archived -= held
    return bool(archived <= free)


def add(
    connection: sqlite3.Connection, package: str, version: str, *, size: int, sessions: int
) -> None:
    """Change what lives in the pool and, with `sessions`, what a version has."""
    connection.execute(
        "UPDATE pool SET used_bytes = used_bytes + ?, sessions = sessions + ?", (size, sessions)
    )
    if sessions:
        count_version(connection, package, version, sessions)


def count_version(connection: sqlite3.Connection, package: str, version: str, change: int) -> None:
    """Change how many sessions a version has; a row at zero goes."""
    connection.execute(
        "INSERT INTO version_sessions (package, version, sessions) VALUES (?, ?, ?) "
        "ON CONFLICT (package, version) DO UPDATE SET sessions = sessions + excluded.sessions",
        (package, version, change),
    )
    if change < 0:
        connection.execute(
            "DELETE FROM version_sessions WHERE package = ? AND version = ? AND sessions <= 0",
            (package, version),
        )


def count_principal(connection: sqlite3.Connection, principal: str, change: int) -> int:
    """Change how many sessions a principal has; a row at zero goes. Return the new number."""
    (sessions,) = connection.execute(
        "INSERT INTO principal_sessions (principal, sessions) VALUES (?, ?) "
        "ON CONFLICT (principal) DO UPDATE SET sessions = sessions + excluded.sessions "
        "RETURNING sessions",
        (principal, change),
    ).fetchone()
    if sessions <= 0:
        connection.execute("DELETE FROM principal_sessions WHERE principal = ?", (principal,))
    return int(sessions)


def archive(connection: sqlite3.Connection, session_id: str, now: int) -> None:
    """Take a session out of what tenants see; a turn that holds it loses it."""
    principal, package, version, size = connection.execute(
        "UPDATE sessions SET status = 'archived', archived_at = ?, fence = fence + 1, "
        "lock_owner = NULL, lock_until = NULL WHERE id = ? "
        "RETURNING principal, package, version, bytes",
        (now, session_id),
    ).fetchone()
    add(connection, package, version, size=-size, sessions=-1)
    count_principal(connection, principal, -1)
    connection.execute("UPDATE pool SET archived_bytes = archived_bytes + ?", (size,))


def remove_archived(connection: sqlite3.Connection, session_id: str) -> None:
    """Remove an archived session for good."""
    (size,) = connection.execute(
        "DELETE FROM sessions WHERE id = ? RETURNING bytes", (session_id,)
    ).fetchone()
    connection.execute("DELETE FROM messages WHERE session_id = ?", (session_id,))
    connection.execute("DELETE FROM accounts WHERE scope = 'session' AND key = ?", (session_id,))
    connection.execute("UPDATE pool SET archived_bytes = archived_bytes - ?", (size,))
