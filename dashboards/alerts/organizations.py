"""Alerts about single organizations, besides their objectives: money, room, waiting, providers."""

from typing import Final

from dashboards.alerts.model import Alert, Group, Recording

_HOURLY: Final = "organization:bulkhead_cost_usd:increase1h"
_USUAL: Final = "organization:bulkhead_cost_usd:increase1h_busy"

_SPENDING: Final = Group(
    "bulkhead-spending",
    "1m",
    (
        Recording(_HOURLY, "sum by (organization) (increase(bulkhead_cost_usd_total[1h]))"),
        # One of twenty hours of the last week was busier; it must have been there a day ago.
        Recording(
            _USUAL,
            f"quantile_over_time(0.95, {_HOURLY}[1w:1h] offset 1h)\n"
            f"and max_over_time({_HOURLY}[1h] offset 1d)",
        ),
        Alert(
            name="BulkheadSpendingRising",
            severity="warning",
            expr=(f"{_HOURLY} > <spendingFactor> * {_USUAL}\nand {_HOURLY} > <spendingFloorUSD>"),
            summary=(
                '{{ $labels.organization }} spent {{ $value | printf "%.2f" }} US dollars in an '
                "hour, more than <spendingFactor> times its busy hours of the last week."
            ),
            description=(
                "See which agent and model the cost is of, and ask the organization whether it is "
                "meant; `spec.budgets` bounds it meanwhile."
            ),
            hold="5m",
        ),
        Alert(
            name="BulkheadBudgetNearlySpent",
            severity="warning",
            expr=(
                "max by (organization, scope, dimension) (bulkhead_budget_used)\n"
                "/ min by (organization, scope, dimension) (bulkhead_budget_limit)\n"
                "> <budgetPercent> / 100"
            ),
            summary=(
                "{{ $labels.organization }} has used {{ $value | humanizePercentage }} of its "
                "{{ $labels.scope }} budget of {{ $labels.dimension }}."
            ),
            description=(
                "What goes beyond is refused with 402 or 429. Raise `spec.budgets`, or let it be "
                "refused; a budget of a day is full again at 00:00 UTC."
            ),
            hold="5m",
        ),
    ),
)

_CONDITION: Final = 'bulkhead_resource_condition{kind="OrganizationRuntime"'
_SEE_CONDITIONS: Final = (
    "`kubectl describe orgrt {{ $labels.organization }}` says why. Where it is Stalled, a person "
    "must act."
)

_WORK: Final = Group(
    "bulkhead-organizations",
    "1m",
    (
        Alert(
            name="BulkheadOrganizationNotReady",
            severity="critical",
            expr=(
                # A suspended one is not available either, but neither Reconciling nor Stalled.
                "max by (organization)\n"
                f'  ({_CONDITION}, type="WorkloadAvailable", status!="True"}})\n'
                "and on (organization)\n"
                f'  {_CONDITION}, type=~"Reconciling|Stalled", status="True"}}'
            ),
            summary=(
                "{{ $labels.organization }}: no replica of its runtime has answered for 10 minutes."
            ),
            description=_SEE_CONDITIONS,
            hold="10m",
        ),
        Alert(
            name="BulkheadOrganizationNotReady",
            severity="warning",
            expr=f'max by (organization) ({_CONDITION}, type="Stalled", status="True"}})',
            summary="{{ $labels.organization }} is Stalled: it is not what its spec says.",
            description=_SEE_CONDITIONS,
            hold="5m",
        ),
        Alert(
            name="BulkheadQueueAgeing",
            severity="warning",
            expr=("max by (organization) (bulkhead_queue_oldest_age_seconds) > <queueAgeSeconds>"),
            summary=(
                "{{ $labels.organization }}: an execution waits {{ $value | humanizeDuration }} "
                "for a place."
            ),
            description=(
                "More work comes in than may run at once. Raise `spec.limits.maxConcurrentAgents` "
                "or `spec.replicas`, or see why executions take so long."
            ),
            hold="5m",
        ),
        Alert(
            name="BulkheadStorageNearlyFull",
            severity="warning",
            expr=(
                "label_replace(\n"
                "  max by (organization) (bulkhead_pool_used_bytes)\n"
                "  / min by (organization) (bulkhead_pool_capacity_bytes),\n"
                '  "storage", "memory pool", "", "")\n'
                "> <storagePercent> / 100\n"
                "or label_replace(\n"
                "  max by (organization) (bulkhead_storage_used_bytes)\n"
                "  / min by (organization) (bulkhead_storage_capacity_bytes),\n"
                '  "storage", "volume", "", "")\n'
                "> <storagePercent> / 100"
            ),
            summary=(
                "{{ $labels.organization }}: its {{ $labels.storage }} is "
                "{{ $value | humanizePercentage }} full."
            ),
            description=(
                "Turns are refused with 507 once it is full. Raise `spec.maxMemoryMB` of the "
                "MemoryPool or `spec.storage.sizeMB`, or have sessions deleted."
            ),
            hold="15m",
        ),
        Alert(
            name="BulkheadProviderFailing",
            severity="warning",
            expr=(
                "max by (organization, provider) "
                "(max_over_time(bulkhead_model_circuit_open[5m])) == 1\n"
                "or sum by (organization, provider) (rate(bulkhead_model_fallbacks_total[5m]))\n"
                "  / sum by (organization, provider) (rate(bulkhead_model_calls_total[5m]))\n"
                "  > 0.2"
            ),
            summary=(
                "{{ $labels.organization }}: provider {{ $labels.provider }} fails; it is left "
                "alone, or other models answer instead."
            ),
            description=(
                "See which class of error its calls end with, and the provider's own status. "
                "Without `spec.models.fallbacks` its users get 502."
            ),
            hold="10m",
        ),
        Alert(
            name="BulkheadKeyExpiring",
            severity="warning",
            expr=(
                # Keys of less than a day are meant to expire.
                "min by (organization, key) (bulkhead_api_key_expires_timestamp_seconds)\n"
                "- time() > 0 < <keyDays> * 86400\n"
                "and on (organization, key)\n"
                "max_over_time(bulkhead_api_key_expires_timestamp_seconds[1h] offset 1d)"
            ),
            summary=(
                "{{ $labels.organization }}: API key {{ $labels.key }} expires in "
                "{{ $value | humanizeDuration }}."
            ),
            description=(
                "Its holders get 401 from then on. Have them make a new key and use it, then "
                "delete this one."
            ),
        ),
        Alert(
            name="BulkheadEventsLost",
            severity="warning",
            expr=(
                "sum by (organization) (increase(bulkhead_events_lost_total[15m])) > 0\n"
                "or sum by (organization) (increase(bulkhead_events_dropped_total[15m])) > 0"
            ),
            summary=(
                "{{ with $labels.organization }}{{ . }}{{ else }}The operator{{ end }} lost "
                "{{ $value | humanize }} events."
            ),
            description=(
                "The audit trail has a gap, told as `events.lost`: the store did not take events "
                "in time. The operator's are Kubernetes Events, of which too many waited."
            ),
        ),
    ),
)


def groups() -> tuple[Group, ...]:
    """Return what is recorded and what is alerted on."""
    return (_SPENDING, _WORK)
