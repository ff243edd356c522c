"""Idempotency keys: who works on which request, and the answers to repeat."""

import sqlite3
from collections.abc import Callable

from bulkhead_runtime.store.spending import Claim, ClaimRefused, RepeatedAnswer

FORGOTTEN_AT_ONCE = 500


def claim(
    connection: sqlite3.Connection,
    wanted: Claim,
    reservation_id: str,
    *,
    owner: str,
    alive: Callable[[str], bool],
    now: int,
) -> ClaimRefused | None:
    """Take a key, also from a holder that is gone; return why it cannot be had."""
    row = connection.execute(
        "SELECT content, owner, lease_until, expires_at, status, content_type, body FROM claims "
        "WHERE principal = ? AND key = ?",
        (wanted.principal, wanted.key),
    ).fetchone()
    if row is not None and row[3] > now:
        content, holder, lease_until, _, status, content_type, body = row
        if content != wanted.content:
            return ClaimRefused("conflict")
        if status is not None:
            return ClaimRefused("finished", RepeatedAnswer(status, content_type, body))
        if lease_until > now and alive(holder):
            return ClaimRefused("in_flight")
    if row is not None:
        _forget(connection, wanted.principal, wanted.key)
    connection.execute(
        "INSERT INTO claims (principal, key, content, reservation_id, owner, lease_until, "
        "expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            wanted.principal,
            wanted.key,
            wanted.content,
            reservation_id,
            owner,
            wanted.lease_until,
            wanted.expires_at,
        ),
    )
    return None


def finish(
    connection: sqlite3.Connection,
    held: Claim,
    reservation_id: str,
    answer: RepeatedAnswer | None,
) -> None:
    """Keep the answer, or free the key without one; nothing where another has taken it over."""
    mine = (held.principal, held.key, reservation_id)
    if answer is None:
        connection.execute(
            "DELETE FROM claims WHERE principal = ? AND key = ? AND reservation_id = ? "
            "AND status IS NULL",
            mine,
        )
        return
    kept = connection.execute(
        "UPDATE claims SET status = ?, content_type = ?, body = ? "
        "WHERE principal = ? AND key = ? AND reservation_id = ? AND status IS NULL",
        (answer.status, answer.content_type, answer.body, *mine),
    ).rowcount
    if kept:
        _count(connection, len(answer.body))


def renew(connection: sqlite3.Connection, reservation_id: str, owner: str, until: int) -> None:
    """Hold the key of a piece of work longer, if it has one."""
    connection.execute(
        "UPDATE claims SET lease_until = ? WHERE owner = ? AND status IS NULL "
        "AND reservation_id = ?",
        (until, owner, reservation_id),
    )


def release(connection: sqlite3.Connection, alive: Callable[[str], bool], now: int) -> int:
    """Free the keys of holders that are gone and forget expired answers; return how many."""
    in_flight = connection.execute(
        "SELECT principal, key, owner, lease_until FROM claims WHERE status IS NULL"
    ).fetchall()
    gone = [row[:2] for row in in_flight if row[3] <= now or not alive(row[2])]
    expired = connection.execute(
        "SELECT principal, key FROM claims WHERE expires_at <= ? LIMIT ?",
        (now, FORGOTTEN_AT_ONCE),
    ).fetchall()
    for principal, key in {*gone, *expired}:
        _forget(connection, principal, key)
    return len(gone)


def _forget(connection: sqlite3.Connection, principal: str, key: str) -> None:
    (size,) = connection.execute(
        "DELETE FROM claims WHERE principal = ? AND key = ? RETURNING coalesce(length(body), 0)",
        (principal, key),
    ).fetchone()
    if size:
        _count(connection, -size)


def _count(connection: sqlite3.Connection, size: int) -> None:
    connection.execute("UPDATE pool SET answer_bytes = answer_bytes + ?", (size,))
