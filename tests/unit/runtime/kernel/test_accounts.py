"""Which account a use is counted in, and when it renews: days are those of UTC."""

from datetime import datetime
from decimal import Decimal

import pytest

from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_runtime.kernel.accounts import BudgetLimits, accounts_of, refusal
from bulkhead_runtime.store.spending import BudgetRefused

LIMITS = BudgetLimits.of(Budgets(day=Allowance(tokens=10), agent_per_day=Allowance(tokens=10)))


@pytest.mark.parametrize(
    ("at", "day"),
    [
        pytest.param("2026-11-21T23:59:59.999+00:00", "2026-11-21", id="a millisecond before"),
        pytest.param("2026-11-22T00:00:00+00:00", "2026-11-22", id="at midnight"),
        pytest.param("2026-11-21T20:00:00-04:00", "2026-11-22", id="in the evening of New York"),
        pytest.param("2026-11-22T08:59:59+09:00", "2026-11-21", id="in the morning of Tokyo"),
        pytest.param("2028-02-29T12:00:00+00:00", "2028-02-29", id="on a leap day"),
    ],
)
def test_a_day_begins_at_midnight_utc(at: str, day: str) -> None:
    now = datetime.fromisoformat(at).timestamp()
    accounts = accounts_of(LIMITS, agent="helper", session_id="ses_1", now=now)
    assert [(account.scope, account.key) for account in accounts] == [
        ("session", "ses_1"),
        ("agent_day", f"helper/{day}"),
        ("day", day),
        ("total", ""),
    ]


@pytest.mark.parametrize(
    ("at", "seconds"),
    [
        pytest.param("2026-11-22T00:00:00+00:00", 86_400, id="a whole day"),
        pytest.param("2026-11-22T23:59:00+00:00", 60, id="its last minute"),
        pytest.param("2026-11-22T23:59:59.999+00:00", 1, id="never less than a second"),
        pytest.param("2026-11-23T00:00:05+00:00", 1, id="work that began the day before"),
    ],
)
def test_a_day_without_room_renews_at_its_end(at: str, seconds: float) -> None:
    began = datetime.fromisoformat("2026-11-22T00:00:00+00:00").timestamp()
    for account in accounts_of(LIMITS, agent="helper", session_id=None, now=began)[:2]:
        refused = BudgetRefused(account, "tokens", Decimal(3))
        told = refusal(refused, now=datetime.fromisoformat(at).timestamp())
        assert (told.status, told.retry_after) == (429, seconds)
