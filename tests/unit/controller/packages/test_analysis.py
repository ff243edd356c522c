from decimal import Decimal
from typing import Any

import pytest

from bulkhead_api.v1alpha1.package_rollout import Analysis
from bulkhead_operator.packages.analysis import Measured, judge, since
from bulkhead_operator.packages.rollout import Verdict

ALL_BOUNDS = Analysis(
    max_error_percent=10,
    max_latency_seconds=2,
    max_cost_per_run="0.05",
    max_tool_denial_percent=20,
    minimum_executions=20,
)
WITHIN: dict[str, Any] = {
    "executions": 20,
    "failures": 2,
    "slow": 1,
    "cost": Decimal("1.00"),
    "tool_calls": 10,
    "tool_denials": 2,
}


def test_a_version_exactly_at_its_bounds_passes() -> None:
    assert judge(ALL_BOUNDS, Measured(**WITHIN)) == (Verdict.PASSED, None)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param({"failures": 3}, "3 of 20 executions failed, more than 10", id="errors"),
        pytest.param({"slow": 2}, "2 of 20 executions took longer than 2 seconds", id="latency"),
        pytest.param({"cost": Decimal("1.01")}, "cost 1.01 US dollars, more than 0.05", id="cost"),
        pytest.param({"tool_denials": 3}, "3 of 10 tool calls were denied", id="denials"),
    ],
)
def test_one_more_than_a_bound_allows_fails_with_the_figures(
    more: dict[str, Any], said: str
) -> None:
    verdict, failure = judge(ALL_BOUNDS, Measured(**{**WITHIN, **more}))
    assert verdict is Verdict.FAILED
    assert failure is not None
    assert failure.reason == "AnalysisFailed"
    assert said in failure.message


def test_too_little_traffic_is_not_judged() -> None:
    few = Measured(executions=19, failures=19)
    assert judge(ALL_BOUNDS, few) == (Verdict.PENDING, None)


def test_without_a_minimum_silence_passes_and_a_single_failure_fails() -> None:
    analysis = Analysis(max_error_percent=0)
    assert judge(analysis, Measured()) == (Verdict.PASSED, None)
    assert judge(analysis, Measured(executions=1, failures=1))[0] is Verdict.FAILED


def test_only_what_came_since_the_step_began_counts_also_when_runtimes_come_and_go() -> None:
    start = {"pod-a/1": Measured(executions=100, failures=50), "pod-b/1": Measured(executions=9)}
    now = {
        "pod-a/1": Measured(executions=110, failures=51, cost=Decimal("0.5")),
        "pod-b/2": Measured(executions=5, failures=2, cost=Decimal("0.25")),
    }
    assert since(start, now) == Measured(executions=15, failures=3, cost=Decimal("0.75"))
