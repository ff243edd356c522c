"""What is used and reserved per account, exactly: decimal text, changed by one writer."""

import sqlite3
from dataclasses import dataclass, field
from decimal import Decimal
from typing import get_args

import orjson

from bulkhead_runtime.store.spending import (
    Account,
    Amounts,
    Balance,
    BudgetRefused,
    Dimension,
    Scope,
)

_NOTHING = Decimal(0)
_ZEROS: Amounts = dict.fromkeys(get_args(Dimension), _NOTHING)
_NONE = "{}"

AccountId = tuple[Scope, str]


@dataclass(frozen=True, slots=True)
class Held:
    """What a piece of work has reserved, of all accounts it draws on in those that are bounded."""

    drawn_on: tuple[AccountId, ...] = ()
    bounded: frozenset[AccountId] = frozenset()
    amounts: Amounts = field(default_factory=dict)


@dataclass(slots=True)
class _State:
    account: Account
    used: dict[Dimension, Decimal]
    reserved: dict[Dimension, Decimal]

    @property
    def id(self) -> AccountId:
        return self.account.scope, self.account.key


def balances(connection: sqlite3.Connection, accounts: tuple[Account, ...]) -> tuple[Balance, ...]:
    """Return where accounts stand."""
    return tuple(map(_balance, _load(connection, accounts)))


def settle(
    connection: sqlite3.Connection,
    accounts: tuple[Account, ...],
    *,
    held: Held,
    used: Amounts,
    wanted: Amounts,
    now: int,
) -> tuple[Balance, ...] | BudgetRefused:
    """Take back what is held, count what was used, then reserve what is wanted in all or in none.

    What is held is given back in the accounts in which it lies: the day may have changed since.
    Accounts without limits reserve nothing, and are not even read while nothing was used.
    """
    states = _load(connection, accounts if used else tuple(filter(_bounded, accounts)))
    elsewhere = held.bounded - {state.id for state in states}
    others = _load(connection, tuple(Account(scope, key, {}) for scope, key in elsewhere))
    for state in (*states, *others):
        if state.id in held.bounded:
            _add(state.reserved, held.amounts, sign=-1)
    for state in states:
        _add(state.used, used)
    refused = _without_room(states, wanted)
    if refused is None:
        for state in filter(lambda state: _bounded(state.account), states):
            _add(state.reserved, wanted)
    if held.amounts or used or wanted:
        _store(connection, [*states, *others], now)
    return tuple(map(_balance, states)) if refused is None else refused


def encode_ids(accounts: tuple[Account, ...]) -> str:
    """Return the JSON text of which accounts work draws on, and whether each is bounded."""
    ids = [(account.scope, account.key, _bounded(account)) for account in accounts]
    return orjson.dumps(ids).decode()


def decode_held(ids: str, amounts: str) -> Held:
    """Return what the texts of a reservation's row say."""
    drawn_on = orjson.loads(ids)
    return Held(
        tuple((scope, key) for scope, key, _ in drawn_on),
        frozenset((scope, key) for scope, key, bounded in drawn_on if bounded),
        decode(amounts),
    )


def encode(amounts: Amounts) -> str:
    """Return the JSON text of amounts; what is zero is left out."""
    return orjson.dumps({key: str(amount) for key, amount in amounts.items() if amount}).decode()


def decode(text: str) -> dict[Dimension, Decimal]:
    """Return the amounts of a row's text."""
    if text == _NONE:
        return {}
    return {key: Decimal(amount) for key, amount in orjson.loads(text).items()}


def _bounded(account: Account) -> bool:
    return bool(account.limits)


def _load(connection: sqlite3.Connection, accounts: tuple[Account, ...]) -> list[_State]:
    found = []
    for account in accounts:
        row = connection.execute(
            "SELECT used, reserved FROM accounts WHERE scope = ? AND key = ?",
            (account.scope, account.key),
        ).fetchone()
        used, reserved = row or (_NONE, _NONE)
        found.append(_State(account, decode(used), decode(reserved)))
    return found


def _store(connection: sqlite3.Connection, states: list[_State], now: int) -> None:
    connection.executemany(
        "INSERT INTO accounts (scope, key, used, reserved, updated_at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (scope, key) DO UPDATE SET used = excluded.used, "
        "reserved = excluded.reserved, updated_at = excluded.updated_at",
        [
            (
                state.account.scope,
                state.account.key,
                encode(state.used),
                encode(state.reserved),
                now,
            )
            for state in states
        ],
    )


def _without_room(states: list[_State], wanted: Amounts) -> BudgetRefused | None:
    """Return the first account and dimension that cannot take what is wanted."""
    for state in states:
        for dimension, limit in state.account.limits.items():
            used = state.used.get(dimension, _NOTHING) + state.reserved.get(dimension, _NOTHING)
            left = max(_NOTHING, limit - used)
            if wanted.get(dimension, _NOTHING) > left:
                return BudgetRefused(state.account, dimension, left)
    return None


def _balance(state: _State) -> Balance:
    return Balance(state.account, {**_ZEROS, **state.used}, {**_ZEROS, **state.reserved})


def _add(total: dict[Dimension, Decimal], more: Amounts, *, sign: int = 1) -> None:
    for dimension, amount in more.items():
        total[dimension] = total.get(dimension, _NOTHING) + sign * amount
