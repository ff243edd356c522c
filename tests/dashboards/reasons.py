"""Queries that have no answer in the check, each with the reason."""

from typing import Final

_A_DAY: Final = "needs a Prometheus that ran a day ago"
_HOURS: Final = "judges hours of traffic, of which the check has a minute"
_NOTHING_FAILED: Final = "nothing of that kind failed, and the series begins with the first failure"

EMPTY: Final[dict[str, str]] = {
    "models-and-cost: Against the day before A": _A_DAY,
    "operator: Keys put on the queue B": _NOTHING_FAILED,
    "record organization:bulkhead_failed_answers:ratio1d": _HOURS,
    "record organization:bulkhead_failed_answers:ratio3d": _HOURS,
    "record organization:bulkhead_late_first_tokens:ratio1d": _HOURS,
    "record organization:bulkhead_late_first_tokens:ratio3d": _HOURS,
    "record organization:bulkhead_cost_usd:increase1h_busy": _HOURS,
    "alert BulkheadAvailabilityBurning: organization:bulkhead_failed_answers:ratio1d": _HOURS,
    "alert BulkheadAvailabilityBurning: organization:bulkhead_failed_answers:ratio3d": _HOURS,
    "alert BulkheadFirstTokenBurning: organization:bulkhead_late_first_tokens:ratio1d": _HOURS,
    "alert BulkheadFirstTokenBurning: organization:bulkhead_late_first_tokens:ratio3d": _HOURS,
    "alert BulkheadSpendingRising: organization:bulkhead_cost_usd:increase1h_busy": _HOURS,
    "alert BulkheadReconcileFailing: controller_runtime_reconcile_errors_total"
    '{controller=~"organizationruntime|agentpackage|memorypool"}': _NOTHING_FAILED,
    "alert BulkheadOrganizationNotReady: bulkhead_resource_condition"
    '{kind="OrganizationRuntime", type="WorkloadAvailable", status!="True"}': (
        "every organization that may have pods has them"
    ),
}
