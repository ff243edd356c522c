"""Judges a version by what it did since a step began.

Runtimes count from their own start, per version; what counts here is the difference to what they
said when the step began. A runtime that began again counts from zero, so its count is its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from bulkhead_api.v1alpha1.package_rollout import Analysis
from bulkhead_operator.packages.rollout import Failure, Verdict

SLOW_PERCENT: Final = 5
"""maxLatencySeconds bounds the 95th percentile: 5 of 100 executions may take longer."""

_PERCENT: Final = 100


@dataclass(frozen=True, slots=True)
class Measured:
    """What one version did; `slow` took longer than maxLatencySeconds, `cost` is in US dollars."""

    executions: int = 0
    failures: int = 0
    slow: int = 0
    cost: Decimal = Decimal(0)
    tool_calls: int = 0
    tool_denials: int = 0
    crashes: int = 0

    def plus(self, other: "Measured") -> "Measured":
        """Return both together."""
        return Measured(
            self.executions + other.executions,
            self.failures + other.failures,
            self.slow + other.slow,
            self.cost + other.cost,
            self.tool_calls + other.tool_calls,
            self.tool_denials + other.tool_denials,
            self.crashes + other.crashes,
        )

    def minus(self, former: "Measured") -> "Measured":
        """Return what came since `former` was counted by the same process."""
        return Measured(
            self.executions - former.executions,
            self.failures - former.failures,
            self.slow - former.slow,
            self.cost - former.cost,
            self.tool_calls - former.tool_calls,
            self.tool_denials - former.tool_denials,
            self.crashes - former.crashes,
        )


Counts = Mapping[str, Measured]
"""What each process counted; the key changes when a process begins again."""


def since(start: Counts, now: Counts) -> Measured:
    """Return what all processes together did since `start`."""
    total = Measured()
    for process, measured in now.items():
        total = total.plus(measured.minus(start.get(process, Measured())))
    return total


def judge(analysis: Analysis, measured: Measured) -> tuple[Verdict, Failure | None]:
    """Return the verdict on a step, and why it failed; too little traffic is pending."""
    breach = _breach(analysis, measured)
    if measured.executions < max(analysis.minimum_executions, 1 if breach else 0):
        return Verdict.PENDING, None
    if breach is not None:
        return Verdict.FAILED, Failure("AnalysisFailed", breach)
    return Verdict.PASSED, None


def _breach(analysis: Analysis, measured: Measured) -> str | None:
    """Return the first bound that is broken, in words with the figures."""
    executions = measured.executions
    errors = analysis.max_error_percent
    if errors is not None and _above(measured.failures, executions, errors):
        return (
            f"{measured.failures} of {executions} executions failed, more than "
            f"{errors} percent (spec.rollout.analysis.maxErrorPercent)"
        )
    seconds = analysis.max_latency_seconds
    if seconds is not None and _above(measured.slow, executions, SLOW_PERCENT):
        return (
            f"{measured.slow} of {executions} executions took longer than {seconds} seconds, more "
            f"than {SLOW_PERCENT} percent (spec.rollout.analysis.maxLatencySeconds)"
        )
    cost = analysis.max_cost_per_run
    if cost is not None and measured.cost > Decimal(cost) * executions:
        return (
            f"{executions} executions cost {measured.cost} US dollars, more than {cost} each "
            "(spec.rollout.analysis.maxCostPerRun)"
        )
    denials = analysis.max_tool_denial_percent
    if denials is not None and _above(measured.tool_denials, measured.tool_calls, denials):
        return (
            f"{measured.tool_denials} of {measured.tool_calls} tool calls were denied, more than "
            f"{denials} percent (spec.rollout.analysis.maxToolDenialPercent)"
        )
    return None


def _above(part: int, whole: int, percent: int) -> bool:
    return part * _PERCENT > whole * percent
