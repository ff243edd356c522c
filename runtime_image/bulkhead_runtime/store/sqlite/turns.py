"""The two ends of a turn: begin, which locks, and end, which stores all or nothing.

The lock is a row, so it holds for every process on the volume. `fence` grows with each turn:
a holder that lost its session to another (it hung, its lock expired) finds another fence at the
end and stores nothing.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from bulkhead_runtime import errors
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.store import refusals, states
from bulkhead_runtime.store.port import BeginTurn, PoolBounds, Turn
from bulkhead_runtime.store.sizes import message_bytes, session_bytes
from bulkhead_runtime.store.spending import TurnEnd, TurnOutcome
from bulkhead_runtime.store.sqlite import pool, rows, sessions

Alive = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Used:
    """What a turn used altogether, for the counters of its session."""

    input_tokens: int
    output_tokens: int
    cost: Decimal | None


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
    new_bytes = 0 if request.new is None else session_bytes(request.new)
    pool.need(connection, request.expected_bytes + new_bytes, bounds)
    if request.new is not None:
        sessions.insert(connection, request.new, bounds, now)
    row = connection.execute(
        "SELECT principal, package, version, updated_at, turns, fence, lock_owner, lock_until, "
        "status, messages, summary, summary_until, compactions, context_tokens, autonomy_level "
        "FROM sessions WHERE id = ? AND archived_at IS NULL",
        (request.session_id,),
    ).fetchone()
    if row is None or row[0] != request.principal or sessions.expired(row[3], bounds, now):
        raise errors.unknown_session()
    _, package, version, _, turns, fence, lock_owner, lock_until, status, messages, *context = row
    if lock_owner not in {None, owner} and lock_until > now and alive(lock_owner):
        raise refusals.session_busy()
    states.starting(status)
    _refuse_beyond_limits(connection, request, bounds, messages, now)
    if (package, version) != (request.package, request.version):
        pool.count_version(connection, package, version, -1)
        pool.count_version(connection, request.package, request.version, 1)
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
    summary, summary_until, compactions, context_tokens, autonomy_level = context
    first, history = _tail(connection, request, after=summary_until)
    return Turn(
        request.session_id,
        turns + 1,
        fence + 1,
        history,
        first,
        summary,
        summary_until,
        compactions,
        context_tokens,
        autonomy_level,
    )


def end(
    connection: sqlite3.Connection,
    ending: TurnEnd,
    used: Used,
    bounds: PoolBounds,
    *,
    owner: str,
    now: int,
) -> TurnOutcome:
    """Store the turn, count what it used and release the session."""
    turn = ending.turn
    row = connection.execute(
        "SELECT fence, lock_owner, messages, cost, package, version FROM sessions WHERE id = ?",
        (turn.session_id,),
    ).fetchone()
    if row is None or (row[0], row[1]) != (turn.fence, owner):
        return "lost"
    _, _, count, cost, package, version = row
    outcome: TurnOutcome = "stored"
    messages, status = ending.messages, ending.status
    size = sum(map(message_bytes, messages))
    if not pool.make_room(connection, size, bounds):
        outcome, messages, status, size = "pool_full", (), "error", 0
    _append(connection, turn, messages, used, count=count, now=now)
    connection.execute(
        "UPDATE sessions SET status = ?, updated_at = ?, turns = turns + ?, "
        "messages = messages + ?, input_tokens = input_tokens + ?, "
        "output_tokens = output_tokens + ?, cost = ?, bytes = bytes + ?, "
        "context_tokens = coalesce(?, context_tokens), lock_owner = NULL, lock_until = NULL "
        "WHERE id = ?",
        (
            status,
            now,
            1 if messages else 0,
            len(messages),
            used.input_tokens,
            used.output_tokens,
            rows.add_costs(cost, used.cost),
            size,
            ending.context_tokens,
            turn.session_id,
        ),
    )
    pool.add(connection, package, version, size=size, sessions=0)
    return outcome


def mark(
    connection: sqlite3.Connection, turn: Turn, status: states.SessionStatus, owner: str
) -> bool:
    """Show a running turn's state; False when the session is no longer this turn's."""
    row = connection.execute(
        "SELECT status FROM sessions WHERE id = ? AND fence = ? AND lock_owner = ?",
        (turn.session_id, turn.fence, owner),
    ).fetchone()
    if row is None:
        return False
    states.check(row[0], status)
    connection.execute(
        "UPDATE sessions SET status = ? WHERE id = ?",
        (status, turn.session_id),
    )
    return True


def renew(
    connection: sqlite3.Connection, session_id: str, fence: int, *, owner: str, until: int
) -> bool:
    """Hold the session longer; False when it is no longer this turn's."""
    return bool(
        connection.execute(
            "UPDATE sessions SET lock_until = ? WHERE id = ? AND fence = ? AND lock_owner = ?",
            (until, session_id, fence, owner),
        ).rowcount
    )


def ask_to_end(connection: sqlite3.Connection, session_id: str) -> bool:
    """Ask for the end of the turn that holds a session; False where none does."""
    return bool(
        connection.execute(
            "UPDATE sessions SET interrupted_fence = fence WHERE id = ? AND lock_owner IS NOT NULL",
            (session_id,),
        ).rowcount
    )


def asked_to_end(connection: sqlite3.Connection, running: tuple[Turn, ...]) -> frozenset[str]:
    """Return the sessions of those turns whose end was asked for, or that were deleted."""
    question = (
        "SELECT 1 FROM sessions WHERE id = ? AND (interrupted_fence = ? OR archived_at IS NOT NULL)"
    )
    return frozenset(
        turn.session_id
        for turn in running
        if connection.execute(question, (turn.session_id, turn.fence)).fetchone()
    )


def interrupt(connection: sqlite3.Connection, session_id: str | None, fence: int | None) -> None:
    """Free the session of a turn that was given up, unless another has it already."""
    connection.execute(
        "UPDATE sessions SET status = 'interrupted', lock_owner = NULL, lock_until = NULL "
        "WHERE id = ? AND fence = ? AND lock_owner IS NOT NULL",
        (session_id, fence),
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


def _refuse_beyond_limits(
    connection: sqlite3.Connection,
    request: BeginTurn,
    bounds: PoolBounds,
    messages: int,
    now: int,
) -> None:
    limits = bounds.sessions
    if limits.messages is not None and messages >= limits.messages:
        raise refusals.session_full(limits.messages)
    if limits.parallel is None:
        return
    (running,) = connection.execute(
        "SELECT count(*) FROM sessions WHERE lock_owner IS NOT NULL AND lock_until > ? AND id <> ?",
        (now, request.session_id),
    ).fetchone()
    if running >= limits.parallel:
        raise refusals.too_many_parallel_sessions(limits.parallel)


def _tail(
    connection: sqlite3.Connection, request: BeginTurn, *, after: int
) -> tuple[int, tuple[ModelMessage, ...]]:
    """Return the last messages in order, from one that a user wrote on, and its sequence."""
    if request.new is not None:
        return 1, ()
    found = connection.execute(
        "SELECT role, content, tool_calls, tool_call_id, sequence FROM messages "
        "WHERE session_id = ? AND sequence > ? ORDER BY sequence DESC LIMIT ?",
        (request.session_id, after, request.tail),
    ).fetchall()
    found.reverse()
    for start, (role, *_, sequence) in enumerate(found):
        if role == "user":
            return sequence, tuple(map(rows.to_message, found[start:]))
    return after + 1, ()


def _append(
    connection: sqlite3.Connection,
    turn: Turn,
    messages: tuple[ModelMessage, ...],
    used: Used,
    *,
    count: int,
    now: int,
) -> None:
    """Attribute the turn's tokens: input to the user's message, output to the final answer."""
    tokens = [0] * len(messages)
    if messages:
        tokens[-1] = used.output_tokens
        tokens[0] = used.input_tokens
    connection.executemany(
        "INSERT INTO messages (session_id, sequence, turn, role, content, tool_calls, "
        "tool_call_id, tokens, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                turn.session_id,
                count + position,
                turn.number,
                message.role,
                message.content,
                rows.encode_calls(message.tool_calls),
                message.tool_call_id,
                tokens[position - 1],
                now,
            )
            for position, message in enumerate(messages, start=1)
        ],
    )
