"""What leaves the store by itself: sessions without activity, and archived ones after a while."""

import sqlite3

from bulkhead_runtime.store.port import ExpiredSession, PoolBounds, Swept
from bulkhead_runtime.store.sqlite import pool
from bulkhead_runtime.store.sqlite.rows import MILLISECONDS

BATCH = 200
VACUUM_PAGES = 1000
"""What one sweep gives back to the volume at most: 4 MB."""

ARCHIVE_SECONDS = 30 * 24 * 3600
"""How long archived sessions are kept where the pool names no retention."""

ACCOUNT_DAYS = 400
"""How long the account of a day is kept: a year and what a report of it needs."""


def sweep(connection: sqlite3.Connection, bounds: PoolBounds, now: int) -> Swept:
    """Archive what expired, remove what is past the retention, at most BATCH of each."""
    retention = _retention(bounds)
    found = _expired(connection, bounds, now)
    for session in found:
        pool.archive(connection, session.id, now)
    past = connection.execute(
        "SELECT id FROM sessions WHERE archived_at < ? ORDER BY archived_at LIMIT ?",
        (now - retention, BATCH),
    ).fetchall()
    for (session_id,) in past:
        pool.remove_archived(connection, session_id)
    connection.execute(
        "DELETE FROM accounts WHERE scope IN ('day', 'agent_day') AND updated_at < ?",
        (now - ACCOUNT_DAYS * 24 * 3600 * MILLISECONDS,),
    )
    if past:
        connection.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
    return Swept(found, len(past), _due(connection, bounds))


def _expired(
    connection: sqlite3.Connection, bounds: PoolBounds, now: int
) -> tuple[ExpiredSession, ...]:
    """Return sessions without activity for too long that no turn holds."""
    if bounds.idle_seconds is None:
        return ()
    found = connection.execute(
        "SELECT id, principal FROM sessions WHERE archived_at IS NULL AND updated_at < ? "
        "AND (lock_until IS NULL OR lock_until < ?) ORDER BY updated_at LIMIT ?",
        (now - bounds.idle_seconds * MILLISECONDS, now, BATCH),
    )
    return tuple(ExpiredSession(*row) for row in found)


def _due(connection: sqlite3.Connection, bounds: PoolBounds) -> int | None:
    (live,) = connection.execute(
        "SELECT min(updated_at) FROM sessions WHERE archived_at IS NULL"
    ).fetchone()
    (archived,) = connection.execute(
        "SELECT min(archived_at) FROM sessions WHERE archived_at IS NOT NULL"
    ).fetchone()
    due = [] if archived is None else [archived + _retention(bounds)]
    if bounds.idle_seconds is not None and live is not None:
        due.append(live + bounds.idle_seconds * MILLISECONDS)
    return min(due, default=None)


def _retention(bounds: PoolBounds) -> int:
    seconds = ARCHIVE_SECONDS if bounds.retention_seconds is None else bounds.retention_seconds
    return seconds * MILLISECONDS
