"""Which accounts an execution draws on, as the configuration bounds them at this moment."""

import time
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

from msgspec import Struct

from bulkhead_api.v1alpha1.agent_package import Agent
from bulkhead_api.v1alpha1.budgets import Budgets, RequestBudget
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.allowance import Allowance
from bulkhead_runtime.store.spending import Account, Amounts, BudgetRefused, Dimension

_FIELDS: Final = {
    "session": "session",
    "agent_day": "agentPerDay",
    "day": "day",
    "total": "total",
}
"""The field of spec.budgets that bounds each scope."""

_RENEWED_DAILY: Final = frozenset({"agent_day", "day"})

_HELD_SECONDS: Final = 5.0
"""After which it is worth asking again for what work under way holds: no wait of a day."""

_SECONDS_OF_A_DAY: Final = 24 * 3600
_FIRST_DAY: Final = date(1970, 1, 1).toordinal()

_UNBOUNDED_PRICE: Final = RequestBudget().cost
"""What bounds a request's cost by default, as far as prices are known."""


class BudgetLimits(Struct, frozen=True):
    """What the budgets of one configuration bound, as amounts."""

    request: Amounts
    session: Amounts
    agent_per_day: Amounts
    day: Amounts
    total: Amounts

    @classmethod
    def of(cls, budgets: Budgets) -> "BudgetLimits":
        """Return the limits that these budgets name."""
        return cls(
            budgets.request.amounts(),
            budgets.session.amounts(),
            budgets.agent_per_day.amounts(),
            budgets.day.amounts(),
            budgets.total.amounts(),
        )


def accounts_of(
    limits: BudgetLimits, *, agent: str, session_id: str | None, now: float | None = None
) -> tuple[Account, ...]:
    """Return all accounts of an execution that begins at `now`, in seconds of Unix time."""
    day = _day(int(time.time() if now is None else now) // _SECONDS_OF_A_DAY)
    accounts = (
        Account("agent_day", f"{agent}/{day}", limits.agent_per_day),
        Account("day", day, limits.day),
        Account("total", "", limits.total),
    )
    if session_id is None:
        return accounts
    return (Account("session", session_id, limits.session), *accounts)


@lru_cache(maxsize=2)
def _day(number: int) -> str:
    """Return the date of a day since the beginning of Unix time; every execution asks for it."""
    return date.fromordinal(_FIRST_DAY + number).isoformat()


def allowance_of(limits: BudgetLimits, agent: Agent | None) -> Allowance:
    """Return what one request may use, which an agent's own budget only narrows."""
    allowance = Allowance(limits.request)
    return allowance if agent is None else allowance.narrowed(agent.budget.amounts())


def bounded(accounts: Iterable[Account], dimension: Dimension) -> bool:
    """Tell whether any of the accounts bounds a dimension."""
    return any(dimension in account.limits for account in accounts)


def price_must_be_known(budgets: Budgets, agent: Agent | None, accounts: Iterable[Account]) -> bool:
    """Tell whether somebody bounds cost, so that a model without a price cannot be called.

    The default bound of a request is a fuse for models whose price is known, not such a wish.
    """
    own = agent is not None and agent.budget.cost is not None
    return own or budgets.request.cost != _UNBOUNDED_PRICE or bounded(accounts, "cost")


def refusal(refused: BudgetRefused, now: float | None = None, *, held: bool = False) -> Problem:
    """Return the answer when an account has no room; `held` where work under way may give some."""
    account, dimension = refused.account, refused.dimension
    limit = account.limits[dimension]
    field = f"spec.budgets.{_FIELDS[account.scope]}.{_field_of(dimension)}"
    seconds = _seconds_until_renewal(account, time.time() if now is None else now)
    hint = "It renews at 00:00 UTC." if seconds is not None else "It does not renew by itself."
    if held:
        seconds = _HELD_SECONDS
        hint = "Work under way holds the rest and gives back what it does not use: try again soon."
    return Problem(
        402 if seconds is None else 429,
        "budget_exceeded",
        f"The {_named(account)} has {_shown(refused.left)} of {_shown(limit)} {_unit(dimension)} "
        f"left, which is less than this needs ({field}). {hint} Ask for less, "
        "or have the budget raised.",
        retry_after=seconds,
    )


def request_refusal(allowance: Allowance, dimension: Dimension) -> Problem:
    """Return the answer when a request has used what one request may."""
    left = allowance.left(dimension) or Decimal(0)
    field = f"spec.budgets.request.{_field_of(dimension)}"
    return Problem(
        402,
        "budget_exceeded",
        f"This request has {_shown(left)} {_unit(dimension)} left, which is less than its next "
        f"step needs ({field} or the agent's budget). Ask for less at once, or have the budget "
        "raised.",
    )


def price_unknown(model: str) -> Problem:
    """Return the answer to a model that cannot be reserved for."""
    return Problem(
        402,
        "price_unknown",
        f"The price of {model!r} is not known while a budget bounds cost, so nothing can be "
        "reserved for it. Add it to spec.models.prices, or remove the bound on cost.",
    )


def percent_used(used: Amounts, limits: Amounts) -> tuple[int, Dimension] | None:
    """Return the fullest bounded dimension and how full it is in percent, rounded down."""
    found = [
        (int(used.get(dimension, Decimal(0)) * 100 / limit), dimension)
        for dimension, limit in limits.items()
        if limit > 0
    ]
    return max(found, default=None)


def _seconds_until_renewal(account: Account, now: float) -> float | None:
    if account.scope not in _RENEWED_DAILY:
        return None
    day = datetime.fromisoformat(account.key.rpartition("/")[2]).replace(tzinfo=UTC)
    return max(1.0, (day + timedelta(days=1)).timestamp() - now)


def _named(account: Account) -> str:
    agent = account.key.rpartition("/")[0]
    return {
        "session": "session",
        "agent_day": f"day of agent {agent!r}",
        "day": "organization's day",
        "total": "organization",
    }[account.scope]


def _field_of(dimension: Dimension) -> str:
    return RequestBudget.model_fields[dimension].alias or dimension


def _unit(dimension: Dimension) -> str:
    return "US dollars" if dimension == "cost" else dimension.replace("_", " ")


def _shown(amount: Decimal) -> str:
    return format(amount.normalize() if amount else Decimal(0), "f")
