"""The three transactions of a piece of work: begin, reserve, finish; and what ends the abandoned.

Whatever refuses, raises: the savepoint around each transaction then takes back what the steps
before it did.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.store import refusals
from bulkhead_runtime.store.port import PoolBounds, Turn
from bulkhead_runtime.store.spending import (
    Account,
    Amounts,
    Begin,
    Begun,
    BudgetRefused,
    ClaimRefused,
    Finish,
    Finished,
    LedgerLine,
)
from bulkhead_runtime.store.sqlite import accounts, claims, event_rows, ledger, sessions, turns


@dataclass(frozen=True, slots=True)
class Holder:
    """Who works: the id of this process, and whether that of another still lives."""

    id: str
    alive: Callable[[str], bool]


class RefusedError(Exception):
    """Work that may not begin; carries what `begin` answers once nothing of it is left."""

    def __init__(self, answer: ClaimRefused | BudgetRefused) -> None:
        super().__init__("refused")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Next:
    """Goes on with work: settles what the last call used, reserves for the next."""

    reservation_id: str
    accounts: tuple[Account, ...]
    used: Amounts
    reserve: Amounts
    lease_until: int
    lines: tuple[LedgerLine, ...]


def begin(
    connection: sqlite3.Connection, request: Begin, bounds: PoolBounds, holder: Holder, now: int
) -> Begun:
    """Claim, lock and reserve; raise `RefusedError` or a `Problem` when one of them cannot be."""
    if request.claim is not None:
        refused = claims.claim(
            connection,
            request.claim,
            request.reservation_id,
            owner=holder.id,
            alive=holder.alive,
            now=now,
        )
        if refused is not None:
            raise RefusedError(refused)
    turn = None
    if request.turn is not None:
        turn = turns.begin(
            connection, request.turn, bounds, owner=holder.id, alive=holder.alive, now=now
        )
    reserved = accounts.settle(
        connection,
        request.accounts,
        held=accounts.Held(),
        used={},
        wanted=request.reserve,
        now=now,
    )
    if isinstance(reserved, BudgetRefused):
        raise RefusedError(reserved)
    _insert_reservation(connection, request, turn, holder.id)
    return Begun(turn, reserved)


def proceed(
    connection: sqlite3.Connection, request: Next, holder: Holder, now: int
) -> Begun | BudgetRefused | Problem:
    """Settle the last call and reserve the next, renewing lock and lease.

    The `Problem` of work that was given up is returned: what was used counts all the same.
    """
    held = _held(connection, request.reservation_id)
    renewed = renew(connection, request.reservation_id, holder.id, request.lease_until)
    ledger.append(connection, request.lines)
    wanted = request.reserve if renewed else {}
    reserved = accounts.settle(
        connection,
        request.accounts,
        held=held or accounts.Held(),
        used=request.used,
        wanted=wanted,
        now=now,
    )
    if isinstance(reserved, BudgetRefused):
        wanted = {}
    connection.execute(
        "UPDATE reservations SET accounts = ?, amounts = ? WHERE id = ?",
        (
            accounts.encode_ids(request.accounts),
            accounts.encode(wanted),
            request.reservation_id,
        ),
    )
    if not renewed:
        return refusals.reservation_gone() if held is None else refusals.turn_lost()
    return reserved if isinstance(reserved, BudgetRefused) else Begun(None, reserved)


def finish(
    connection: sqlite3.Connection,
    request: Finish,
    bounds: PoolBounds,
    holder: Holder,
    now: int,
) -> Finished:
    """Store how work ended and settle what it had reserved."""
    held = _held(connection, request.reservation_id)
    connection.execute("DELETE FROM reservations WHERE id = ?", (request.reservation_id,))
    written = ledger.append(connection, request.lines)
    # Work that nothing bounds never began; whether it was settled before its lines tell.
    used = {} if held is None and not written else request.used
    balances = accounts.settle(
        connection,
        request.accounts,
        held=held or accounts.Held(),
        used=used,
        wanted={},
        now=now,
    )
    assert not isinstance(balances, BudgetRefused), "nothing was wanted"
    outcome = None
    if request.turn is not None:
        outcome = turns.end(
            connection, request.turn, _used(request.lines), bounds, owner=holder.id, now=now
        )
    if request.summary is not None:
        sessions.summarize(connection, request.summary)
    event_rows.append(connection, request.events)
    if request.claim is not None:
        kept = request.answer if outcome in {None, "stored"} else None
        claims.finish(connection, request.claim, request.reservation_id, kept)
    return Finished(outcome, balances)


def renew(
    connection: sqlite3.Connection, reservation_id: str, owner: str, lease_until: int
) -> bool:
    """Renew reservation, claim and lock; False when the reservation or the lock was lost."""
    row = connection.execute(
        "UPDATE reservations SET lease_until = ? WHERE id = ? AND owner = ? "
        "RETURNING session_id, fence",
        (lease_until, reservation_id, owner),
    ).fetchone()
    if row is None:
        return False
    claims.renew(connection, reservation_id, owner, lease_until)
    session_id, fence = row
    return session_id is None or turns.renew(
        connection, session_id, fence, owner=owner, until=lease_until
    )


def release_abandoned(
    connection: sqlite3.Connection, alive: Callable[[str], bool], now: int
) -> int:
    """Settle in full what holders that are gone had reserved; free their sessions and keys."""
    found = connection.execute(
        "SELECT id, owner, lease_until, amounts, accounts, session_id, fence, principal, agent, "
        "package, version FROM reservations"
    ).fetchall()
    gone = [row for row in found if row[2] <= now or not alive(row[1])]
    for row in gone:
        _settle_in_full(connection, row, now)
    released = turns.release_dead(connection, alive) + claims.release(connection, alive, now)
    return len(gone) + released


def _settle_in_full(connection: sqlite3.Connection, row: tuple[Any, ...], now: int) -> None:
    reservation_id, _, _, amounts, ids, session_id, fence, *work = row
    principal, agent, package, version = work
    held = accounts.decode_held(ids, amounts)
    reserved = held.amounts
    counted = tuple(Account(scope, key, {}) for scope, key in held.drawn_on)
    accounts.settle(connection, counted, held=held, used=reserved, wanted={}, now=now)
    connection.execute("DELETE FROM reservations WHERE id = ?", (reservation_id,))
    turns.interrupt(connection, session_id, fence)
    if not reserved.get("tokens") and not reserved.get("cost"):
        return
    line = LedgerLine(
        id=f"abandoned-{reservation_id}",
        type="abandoned",
        at=now,
        principal=principal,
        agent=agent,
        package=package,
        version=version,
        model="",
        input_tokens=int(reserved.get("tokens", 0)),
        output_tokens=0,
        cost=reserved.get("cost"),
        session_id=session_id,
    )
    ledger.append(connection, (line,))


def _insert_reservation(
    connection: sqlite3.Connection, request: Begin, turn: Turn | None, owner: str
) -> None:
    package, version = "", ""
    if request.turn is not None:
        package, version = request.turn.package, request.turn.version
    connection.execute(
        "INSERT INTO reservations (id, owner, lease_until, accounts, amounts, session_id, fence, "
        "principal, agent, package, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            request.reservation_id,
            owner,
            request.lease_until,
            accounts.encode_ids(request.accounts),
            accounts.encode(request.reserve),
            turn.session_id if turn else None,
            turn.fence if turn else None,
            request.principal,
            request.agent,
            package,
            version,
        ),
    )


def _held(connection: sqlite3.Connection, reservation_id: str) -> accounts.Held | None:
    """Return what is reserved still, None where the reservation is gone."""
    row = connection.execute(
        "SELECT accounts, amounts FROM reservations WHERE id = ?", (reservation_id,)
    ).fetchone()
    return None if row is None else accounts.decode_held(*row)


def _used(lines: tuple[LedgerLine, ...]) -> turns.Used:
    costs = [line.cost for line in lines if line.cost is not None]
    return turns.Used(
        sum(line.input_tokens for line in lines),
        sum(line.output_tokens for line in lines),
        sum(costs, Decimal(0)) if costs else None,
    )
