"""Alerts about what serves all organizations: the operator and its rollouts."""

from typing import Final

from dashboards.alerts.model import Alert, Group

# Other operators count under the same names.
_OURS: Final = 'controller=~"organizationruntime|agentpackage|memorypool"'

_ROLLOUTS: Final = Group(
    "bulkhead-rollouts",
    "1m",
    (
        Alert(
            name="BulkheadRolloutStalled",
            severity="warning",
            expr=(
                "max by (organization, namespace, name) (bulkhead_resource_condition"
                '{kind="AgentPackage", type="Stalled", status="True"}) == 1\n'
                "or count_over_time(\n"
                "  max by (organization, namespace, name)\n"
                '    (bulkhead_rollout_phase{phase=~"Load|HealthCheck|Restore"})\n'
                "  [30m:1m]) >= 30"
            ),
            summary=(
                "{{ $labels.organization }}: package {{ $labels.name }} was rolled back, is held "
                "or refused, or its rollout has not moved for half an hour."
            ),
            description=(
                "`kubectl describe agpkg {{ $labels.name }} -n {{ $labels.namespace }}` says why. "
                "The version before goes on serving."
            ),
            hold="1m",
        ),
    ),
)

_OPERATOR: Final = Group(
    "bulkhead-operator",
    "1m",
    (
        Alert(
            name="BulkheadOperatorNotLeading",
            severity="critical",
            expr="(max(bulkhead_leader) or vector(0)) < 1",
            summary="No replica of the operator leads.",
            description=(
                "Organizations are served, but no change takes effect and no rollout is taken "
                "back. See whether its pods run, reach the API server, and are scraped."
            ),
            hold="5m",
        ),
        Alert(
            name="BulkheadOperatorDeaf",
            severity="warning",
            expr=(
                "max by (kind) (max_over_time(bulkhead_watch_last_event_age_seconds[10m])) > 180"
            ),
            summary=(
                "The operator heard nothing of {{ $labels.kind }} for "
                "{{ $value | humanizeDuration }}."
            ),
            description=(
                "Changes are found at the next audit or resync only. It restarts its watches, then "
                "itself; where that did not help, see what lies between it and the API server."
            ),
            hold="5m",
        ),
        Alert(
            name="BulkheadReconcileFailing",
            severity="warning",
            expr=(
                f"sum by (controller) (rate(controller_runtime_reconcile_errors_total{{{_OURS}}}"
                "[15m]))\n"
                f"/ sum by (controller) (rate(controller_runtime_reconcile_total{{{_OURS}}}"
                "[15m]))\n"
                "> 0.1"
            ),
            summary=(
                "{{ $value | humanizePercentage }} of the reconciles of {{ $labels.controller }} "
                "fail and are tried again."
            ),
            description=("The operator's log names the objects and what the API server answered."),
            hold="30m",
        ),
    ),
)


def groups() -> tuple[Group, ...]:
    """Return what is alerted on."""
    return (_ROLLOUTS, _OPERATOR)
