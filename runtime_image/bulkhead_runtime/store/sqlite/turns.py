"""The two transactions of a turn: begin, which locks, and finish, which stores all or nothing.

The lock is a row, so it holds for every process on the volume. `fence` grows with each turn:
a holder that lost its session to another (it hung, its lock expired) finds another fence at the
end and stores nothing.
"""

import sqlite3
from collections.abc import Callable
from typing import Literal

from bulkhead_runtime import errors
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.store.port import BeginTurn, FinishTurn, LedgerEntry, PoolBounds, Turn
from bulkhead_runtime.store.sqlite import rows
from bulkhead_runtime.store.sqlite.sessions import encode_metadata, expired, insert

Alive = Callable[[str], bool]
Outcome = Literal["stored", "lost", "pool_full"]

BUSY_RETRY_SECONDS = 1


def begin(
    connection: sqlite3.Connection,
    request: BeginTurn,
    bounds: PoolBounds,
    *,
    owner: str,
    alive: Alive,
    now: int,
) -> Turn:
    """Lock the session, which `request.new` may make first, and load the tail of its messages."""
    _refuse_full_pool(connection, request, bounds)
    if request.new is not None:
        insert(connection, request.new, now)
    row = connection.execute(
        "SELECT principal, package, version, updated_at, turns, fence, lock_owner, lock_until "
        "FROM sessions WHERE id = ?",
        (request.session_id,),
    ).fetchone()
    if row is None or row[0] != request.principal or expired(row[3], bounds, now):
        raise errors.unknown_session()
    _, package, version, _, turns, fence, lock_owner, lock_until = row
    if lock_owner not in {None, owner} and lock_until > now and alive(lock_owner):
        raise errors.Problem(
            409,
            "session_busy",
            "Another turn of this session is running. Try again when it has ended.",
            retry_after=BUSY_RETRY_SECONDS,
        )
    if (package, version) != (request.package, request.version):
        rows.count_version(connection, package, version, -1)
        rows.count_version(connection, request.package, request.version, 1)
    connection.execute(
        "UPDATE sessions SET lock_owner = ?, lock_until = ?, fence = ?, status = 'executing', "
        "package = ?, version = ? WHERE id = ?",
        (
            owner,
            request.expires_at,
            fence + 1,
            request.package,
            request.version,
            request.session_id,
        ),
    )
    history = () if request.new else _tail(connection, request.session_id, request.tail)
    return Turn(request.session_id, turns + 1, fence + 1, history)


def finish(
    connection: sqlite3.Connection,
    finish: FinishTurn,
    bounds: PoolBounds,
    *,
    owner: str,
    now: int,
) -> Outcome:
    """Store the turn, count what it used and release the session."""
    record(connection, finish.entry, now)
    row = connection.execute(
        "SELECT fence, lock_owner, messages, cost FROM sessions WHERE id = ?",
        (finish.turn.session_id,),
    ).fetchone()
    if row is None or (row[0], row[1]) != (finish.turn.fence, owner):
        return "lost"
    _, _, count, cost = row
    size = sum(map(rows.message_bytes, finish.messages))
    messages, status, outcome = finish.messages, finish.status, "stored"
    if _used(connection) + size > bounds.max_bytes:
        messages, status, size, outcome = (), "error", 0, "pool_full"
    _append(connection, finish, messages, count, now)
    entry = finish.entry
    connection.execute(
        "UPDATE sessions SET status = ?, updated_at = ?, turns = turns + ?, "
        "messages = messages + ?, input_tokens = input_tokens + ?, "
        "output_tokens = output_tokens + ?, cost = ?, bytes = bytes + ?, "
        "lock_owner = NULL, lock_until = NULL WHERE id = ?",
        (
            status,
            now,
            1 if messages else 0,
            len(messages),
            entry.input_tokens,
            entry.output_tokens,
            rows.add_costs(cost, entry.cost),
            size,
            finish.turn.session_id,
        ),
    )
    rows.use_pool(connection, entry.package, entry.version, size=size, sessions=0)
    return "stored" if outcome == "stored" else "pool_full"


def record(connection: sqlite3.Connection, entry: LedgerEntry, now: int) -> None:
    """Write one use to the ledger, unless nothing was used."""
    if entry.input_tokens == 0 and entry.output_tokens == 0:
        return
    connection.execute(
        "INSERT INTO ledger (session_id, agent, package, version, model, input_tokens, "
        "output_tokens, cost, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.session_id,
            entry.agent,
            entry.package,
            entry.version,
            entry.model,
            entry.input_tokens,
            entry.output_tokens,
            entry.cost,
            now,
        ),
    )


def release_dead(connection: sqlite3.Connection, alive: Alive) -> int:
    """Mark the turns of processes that are gone as interrupted; return how many there were."""
    owners = connection.execute(
        "SELECT DISTINCT lock_owner FROM sessions WHERE lock_owner IS NOT NULL"
    ).fetchall()
    released = 0
    for (owner,) in owners:
        if not alive(owner):
            released += connection.execute(
                "UPDATE sessions SET status = 'interrupted', lock_owner = NULL, lock_until = NULL "
                "WHERE lock_owner = ?",
                (owner,),
            ).rowcount
    return released


def _used(connection: sqlite3.Connection) -> int:
    (used,) = connection.execute("SELECT used_bytes FROM pool").fetchone()
    return int(used)


def _refuse_full_pool(
    connection: sqlite3.Connection, request: BeginTurn, bounds: PoolBounds
) -> None:
    expected = request.expected_bytes
    if request.new is not None:
        expected += rows.session_bytes(encode_metadata(request.new))
    if _used(connection) + expected > bounds.max_bytes:
        raise errors.pool_full(bounds.name, bounds.max_memory_mb)


def _tail(connection: sqlite3.Connection, session_id: str, length: int) -> tuple[ModelMessage, ...]:
    """Return the last messages in order, beginning with one that a user wrote."""
    newest_first = connection.execute(
        f"SELECT {rows.MESSAGE_COLUMNS} FROM messages WHERE session_id = ? "  # noqa: S608 (constant)
        "ORDER BY sequence DESC LIMIT ?",
        (session_id, length),
    ).fetchall()
    messages = [rows.to_stored_message(row).message for row in reversed(newest_first)]
    for start, message in enumerate(messages):
        if message.role == "user":
            return tuple(messages[start:])
    return ()


def _append(
    connection: sqlite3.Connection,
    finish: FinishTurn,
    messages: tuple[ModelMessage, ...],
    count: int,
    now: int,
) -> None:
    connection.executemany(
        "INSERT INTO messages (session_id, sequence, turn, role, content, tool_calls, "
        "tool_call_id, tokens, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                finish.turn.session_id,
                count + position,
                finish.turn.number,
                message.role,
                message.content,
                rows.encode_calls(message.tool_calls),
                message.tool_call_id,
                _tokens(finish, message),
                now,
            )
            for position, message in enumerate(messages, start=1)
        ],
    )


def _tokens(finish: FinishTurn, message: ModelMessage) -> int:
    """Attribute the turn's tokens: input to the user's message, output to the final answer."""
    if message is finish.messages[0]:
        return finish.entry.input_tokens
    if message is finish.messages[-1]:
        return finish.entry.output_tokens
    return 0
