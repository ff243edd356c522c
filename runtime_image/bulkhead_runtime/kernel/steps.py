"""What happens before a budget is used up: spec.budgets.steps, checked at the begin of work."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from bulkhead_api.v1alpha1.budgets import Budgets, BudgetStep
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.accounts import percent_used
from bulkhead_runtime.kernel.admission import RateWindow
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.store.spending import Account, Balance, Dimension

Key = TypeVar("Key")

_REMEMBERED: Final = 1024
WHOLE_ORGANIZATION: Final = frozenset({"day", "total"})


@dataclass(frozen=True, slots=True)
class Passed:
    """A step that an account has passed."""

    step: BudgetStep
    account: Account
    dimension: Dimension
    percent: int


def passed(budgets: Budgets, balances: tuple[Balance, ...]) -> Iterator[Passed]:
    """Return every step that any account has passed, by its fullest dimension."""
    for balance in balances:
        fullest = percent_used(balance.used, balance.account.limits)
        if fullest is None:
            continue
        percent, dimension = fullest
        for step in budgets.steps:
            if percent >= step.percent:
                yield Passed(step, balance.account, dimension, percent)


class BudgetSteps:
    """Warns, throttles and changes to the cheaper model; each replica admits its share.

    Whether an account is to be throttled is known from the request before, so that one that is
    refused has not begun anything.
    """

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._throttle = RateWindow()
        self._told: OrderedDict[tuple[str, str, int], None] = OrderedDict()
        self._throttled: OrderedDict[tuple[str, str], Passed] = OrderedDict()

    def slow_down(self, execution: Execution) -> None:
        """Raise a 429 `Problem` for a request too many while a budget throttles."""
        if not self._throttled:
            return
        source = execution.configuration.source
        per_minute = source.budgets.throttled_requests_per_minute
        share = max(1, per_minute // source.replicas)
        for account in execution.purse.accounts:
            found = self._throttled.get((account.scope, account.key))
            if found is not None:
                self._admit(execution, found, share, per_minute)
                return

    def take(self, execution: Execution) -> None:
        """Do what the steps that were passed say, now or at the next request."""
        budgets, balances = execution.configuration.source.budgets, execution.purse.balances
        if not balances:
            return
        self._show(balances)
        for balance in balances:
            self._throttled.pop((balance.account.scope, balance.account.key), None)
        for found in passed(budgets, balances):
            match found.step.action:
                case "Warn":
                    self._warn(execution, found)
                case "Throttle":
                    self._throttled[(found.account.scope, found.account.key)] = found
                    _forget(self._throttled)
                case "CheaperModel" if budgets.cheaper_model not in {None, execution.model}:
                    self._cheapen(execution, found, budgets.cheaper_model or "")

    def _show(self, balances: tuple[Balance, ...]) -> None:
        for balance in balances:
            if balance.account.scope in WHOLE_ORGANIZATION:
                self._reports.balance(balance)

    def _warn(self, execution: Execution, found: Passed) -> None:
        execution.warnings.append(
            f"{found.account.scope} {found.dimension} {found.percent}% of its budget used"
        )
        if self._news(found):
            data = {"dimension": found.dimension, "percent": found.percent}
            self._reports.step("budget.warning", "Warn", execution, found.account, data)

    def _admit(self, execution: Execution, found: Passed, share: int, per_minute: int) -> None:
        try:
            self._throttle.admit(share)
        except Problem as problem:
            data = {"percent": found.percent}
            self._reports.step("budget.throttled", "Throttle", execution, found.account, data)
            raise Problem(
                429,
                "budget_throttled",
                f"{found.percent} percent of the {found.account.scope} budget on "
                f"{found.dimension.replace('_', ' ')} are used, so only {per_minute} requests per "
                "minute are admitted (spec.budgets.throttledRequestsPerMinute). Try again later.",
                retry_after=problem.retry_after,
            ) from None

    def _cheapen(self, execution: Execution, found: Passed, cheaper: str) -> None:
        data = {"percent": found.percent, "from": execution.model, "to": cheaper}
        execution.model = cheaper
        if self._news(found):
            self._reports.step(
                "budget.cheaper_model", "CheaperModel", execution, found.account, data
            )

    def _news(self, found: Passed) -> bool:
        """Tell whether this process has not told of this step of this account yet."""
        key = (found.account.scope, found.account.key, found.step.percent)
        if key in self._told:
            return False
        self._told[key] = None
        _forget(self._told)
        return True


def _forget(remembered: OrderedDict[Key, Any]) -> None:
    """Keep what is remembered within its bound, the newest of it."""
    if len(remembered) > _REMEMBERED:
        remembered.popitem(last=False)
