"""Transactions and queries on sessions outside a turn."""

import sqlite3

import orjson

from bulkhead_runtime import errors
from bulkhead_runtime.store.port import (
    MessagePage,
    NewSession,
    PoolBounds,
    PoolUsage,
    Session,
    SessionPage,
)
from bulkhead_runtime.store.sqlite import rows

MILLISECONDS = 1000
EXPIRY_BATCH = 200
VACUUM_PAGES = 1000
"""What one sweep gives back to the volume at most: 4 MB."""

LEDGER_ROWS = 200_000
"""What the ledger keeps, oldest first out: about 30 MB."""


def expired(updated_at: int, bounds: PoolBounds, now: int) -> bool:
    """Tell whether a session's last activity is further back than the retention."""
    if bounds.retention_seconds is None:
        return False
    return updated_at + bounds.retention_seconds * MILLISECONDS < now


def encode_metadata(new: NewSession) -> str:
    """Return the JSON text of a new session's metadata."""
    return orjson.dumps(dict(new.metadata)).decode()


def insert(connection: sqlite3.Connection, new: NewSession, now: int) -> None:
    """Store a session without messages."""
    metadata = encode_metadata(new)
    size = rows.session_bytes(metadata)
    connection.execute(
        "INSERT INTO sessions (id, principal, agent, package, version, status, created_at, "
        "updated_at, metadata, bytes) VALUES (?, ?, ?, ?, ?, 'idle', ?, ?, ?, ?)",
        (
            new.id,
            new.principal,
            new.agent,
            new.package,
            new.version,
            now,
            now,
            metadata,
            size,
        ),
    )
    rows.use_pool(connection, new.package, new.version, size=size, sessions=1)


def create(
    connection: sqlite3.Connection, new: NewSession, bounds: PoolBounds, now: int
) -> Session:
    """Store a session that the pool has room for."""
    size = rows.session_bytes(encode_metadata(new))
    if usage(connection).used_bytes + size > bounds.max_bytes:
        raise errors.pool_full(bounds.name, bounds.max_memory_mb)
    insert(connection, new, now)
    return find(connection, new.id, new.principal, bounds, now)


def visible(owner: str, principal: str | None) -> bool:
    """Tell whether `principal` sees what `owner` has; None sees all."""
    return principal is None or owner == principal


def find(
    connection: sqlite3.Connection,
    session_id: str,
    principal: str | None,
    bounds: PoolBounds,
    now: int,
) -> Session:
    """Return a session; one that is unknown, expired or another principal's is a 404."""
    row = connection.execute(
        f"SELECT {rows.SESSION_COLUMNS} FROM sessions WHERE id = ?",  # noqa: S608 (constant)
        (session_id,),
    ).fetchone()
    if row is None:
        raise errors.unknown_session()
    session = rows.to_session(row)
    if not visible(session.principal, principal) or expired(session.updated_at, bounds, now):
        raise errors.unknown_session()
    return session


def page(
    connection: sqlite3.Connection,
    principal: str | None,
    *,
    not_before: int,
    limit: int,
    cursor: str | None,
) -> SessionPage:
    """Return sessions after the cursor, newest first, without those last active before."""
    created_at, session_id = _session_cursor(cursor)
    mine, owner = ("", ()) if principal is None else ("principal = ? AND ", (principal,))
    found = connection.execute(
        f"SELECT {rows.SESSION_COLUMNS} FROM sessions WHERE {mine}"  # noqa: S608 (constants)
        "(created_at, id) < (?, ?) AND updated_at >= ? ORDER BY created_at DESC, id DESC LIMIT ?",
        (*owner, created_at, session_id, not_before, limit + 1),
    ).fetchall()
    items = tuple(rows.to_session(row) for row in found[:limit])
    more = len(found) > limit
    return SessionPage(items, f"{items[-1].created_at}.{items[-1].id}" if more else None)


def messages(
    connection: sqlite3.Connection, session_id: str, *, limit: int, cursor: str | None
) -> MessagePage:
    """Return a session's messages after the cursor, oldest first."""
    found = connection.execute(
        f"SELECT {rows.MESSAGE_COLUMNS} FROM messages "  # noqa: S608 (constant)
        "WHERE session_id = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        (session_id, _number(cursor or "0"), limit + 1),
    ).fetchall()
    items = tuple(rows.to_stored_message(row) for row in found[:limit])
    return MessagePage(items, str(items[-1].sequence) if len(found) > limit else None)


def usage(connection: sqlite3.Connection) -> PoolUsage:
    """Return the counters of the pool."""
    return PoolUsage(*connection.execute("SELECT used_bytes, sessions FROM pool").fetchone())


def by_version(connection: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """Return how many sessions each version has."""
    found = connection.execute("SELECT package, version, sessions FROM version_sessions")
    return {(package, version): sessions for package, version, sessions in found}


def delete(connection: sqlite3.Connection, session_id: str, principal: str | None) -> None:
    """Remove a session of this principal; raise a 404 `Problem` when there is none."""
    row = connection.execute(
        "SELECT principal FROM sessions WHERE id = ?", (session_id,)
    ).fetchone()
    if row is None or not visible(row[0], principal):
        raise errors.unknown_session()
    _remove(connection, session_id)


def remove_expired(connection: sqlite3.Connection, bounds: PoolBounds, now: int) -> int:
    """Remove at most EXPIRY_BATCH expired sessions that no turn holds; return how many."""
    _trim_ledger(connection)
    if bounds.retention_seconds is None:
        return 0
    found = connection.execute(
        "SELECT id FROM sessions WHERE updated_at < ? "
        "AND (lock_until IS NULL OR lock_until < ?) LIMIT ?",
        (now - bounds.retention_seconds * MILLISECONDS, now, EXPIRY_BATCH),
    ).fetchall()
    for (session_id,) in found:
        _remove(connection, session_id)
    if found:
        connection.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
    return len(found)


def oldest_activity(connection: sqlite3.Connection) -> int | None:
    """Return when the session that was quiet longest was last active."""
    (oldest,) = connection.execute("SELECT min(updated_at) FROM sessions").fetchone()
    return None if oldest is None else int(oldest)


def _remove(connection: sqlite3.Connection, session_id: str) -> None:
    package, version, size = connection.execute(
        "DELETE FROM sessions WHERE id = ? RETURNING package, version, bytes", (session_id,)
    ).fetchone()
    connection.execute("DELETE FROM messages WHERE session_id = ?", (session_id,))
    rows.use_pool(connection, package, version, size=-size, sessions=-1)


def _trim_ledger(connection: sqlite3.Connection) -> None:
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM ledger").fetchone()
    connection.execute("DELETE FROM ledger WHERE id <= ?", (newest - LEDGER_ROWS,))


def _session_cursor(cursor: str | None) -> tuple[int, str]:
    if cursor is None:
        return 2**62, ""
    created_at, _, session_id = cursor.partition(".")
    return _number(created_at), session_id


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(2**62)) - 1):
        raise errors.Problem(
            422,
            "invalid_cursor",
            "`cursor` must be the `next_cursor` of the page before.",
            field="cursor",
        )
    return int(text)
