"""All organizations at once: who is unwell, who spends, who fails, and how much room is left."""

from typing import Final

from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units

from dashboards.grafana.frame import Section, framed
from dashboards.grafana.panels import Column, Line, Panel, figure, graph, listing
from dashboards.grafana.queries import (
    failing,
    highest,
    increase,
    operators,
    or_zero,
    picked,
    quantile,
    rate,
    share,
    total,
)

_HOUR: Final = 3600
_RANGE: Final = "$__range"
_ORGANIZATIONS: Final = 'kind="OrganizationRuntime"'
_NOT_READY: Final = picked(
    "bulkhead_resource_condition", _ORGANIZATIONS, 'type="Ready"', 'status!="True"'
)


def dashboard() -> models.Dashboard:
    """Return the dashboard that a platform team opens first."""
    return framed(
        "fleet",
        "Fleet",
        "All organizations: health, spending, errors, capacity. Begin here; a click on an "
        "organization's name leads to its own dashboard.",
        (
            Section("Health", [*_health(), *_changes()]),
            Section("Who stands out", _standing_out()),
            Section("Capacity", _capacity()),
        ),
    )


def _health() -> list[Panel]:
    stalled = picked(
        "bulkhead_resource_condition", _ORGANIZATIONS, 'type="Stalled"', 'status="True"'
    )
    return [
        figure(
            "Organizations",
            "Organizations by state. A degraded one serves but not as its spec says: see the "
            "table below for which.",
            units.Short,
            total(operators("bulkhead_organizations"), "state") + " > 0",
            legend="{{state}}",
            width=8,
        ),
        figure(
            "Not ready",
            "Organizations whose Ready condition does not hold. `kubectl describe orgrt NAME` "
            "says what each waits for.",
            units.Short,
            or_zero(f"count({_NOT_READY})"),
            limits=(1, 5),
        ),
        figure(
            "Need a person",
            "Organizations that are Stalled: nothing goes on before somebody changes what the "
            "condition's message names.",
            units.Short,
            or_zero(f"count({stalled})"),
            limits=(1,),
        ),
        figure(
            "Failing executions",
            "Share of executions that ended in an error. Above 1 % look at the worst error rates "
            "below, then at the provider on Models and cost.",
            units.PercentUnit,
            failing(),
            limits=(0.01, 0.05),
        ),
        figure(
            "Spending per hour",
            "US dollars that models cost per hour at the present rate, where prices are known. "
            "Look at the top spenders when it rises without more executions.",
            units.Dollars,
            f"{total(rate(picked('bulkhead_cost_usd_total')))} * {_HOUR}",
        ),
    ]


def _changes() -> list[Panel]:
    return [
        listing(
            "Organizations that are not ready",
            "Empty when all is well. Follow the name to what the organization's runtimes do, and "
            "run `kubectl describe orgrt NAME` for the reason.",
            Column("not ready", total(_NOT_READY, "organization")),
            named=("organization",),
            width=8,
        ),
        graph(
            "Executions per second",
            "Executions that end, by outcome. A fall to zero with clients at work means that the "
            "gateway does not reach the runtimes.",
            units.OpsPerSecond,
            Line(total(rate(picked("bulkhead_executions_total")), "outcome"), "{{outcome}}"),
            stacked=True,
            width=8,
        ),
        graph(
            "Runtimes that answer a scrape",
            "Runtimes that Prometheus reaches and does not reach. One that is not reached may "
            "still serve: compare with the table of those that are not ready, then look at "
            "`network.scrapers`.",
            units.Short,
            Line(or_zero(f"count({picked('up')} == 1)"), "reached"),
            Line(or_zero(f"count({picked('up')} == 0)"), "not reached"),
            width=8,
        ),
    ]


def _standing_out() -> list[Panel]:
    spent = total(increase(picked("bulkhead_cost_usd_total"), _RANGE), "organization")
    ended = total(increase(picked("bulkhead_executions_total"), _RANGE), "organization")
    return [
        listing(
            "Top spenders",
            "US dollars that each organization spent on models in the chosen time, highest "
            "first. Compare with the executions beside it; Models and cost says which model.",
            Column("spent", spent, units.Dollars),
            Column("executions", ended),
            most=10,
            named=("organization",),
            sort="spent",
            width=8,
        ),
        listing(
            "Worst error rates",
            "Share of executions that fail now, highest first. Follow the name: the panel of "
            "errors by class says whether it is the provider, a tool or the package.",
            Column("failing", failing("organization"), units.PercentUnit, (0.01, 0.05)),
            most=10,
            named=("organization",),
            width=8,
        ),
        listing(
            "Slowest first tokens",
            "Time until a model's first text at the 95th percentile, highest first. Long queues "
            "and slow providers both show here; the organization's dashboard tells them apart.",
            Column(
                "p95",
                quantile(0.95, picked("bulkhead_first_token_seconds_bucket"), "organization"),
                units.Seconds,
                (2, 10),
            ),
            most=10,
            named=("organization",),
            width=8,
        ),
    ]


def _capacity() -> list[Panel]:
    running = total(picked("bulkhead_executions_active"), "organization")
    places = total(picked("bulkhead_executions_limit"), "organization")
    stored = highest(picked("bulkhead_storage_used_bytes"), "organization")
    volume = highest(picked("bulkhead_storage_capacity_bytes"), "organization")
    return [
        graph(
            "CPU of all runtimes",
            "Cores in use, kept free by requests, and allowed by limits. Usage far below what is "
            "reserved is money lost: lower `spec.limits.requests`.",
            units.Short,
            *_use_and_bounds(rate(picked("process_cpu_seconds_total")), "cpu_cores"),
        ),
        graph(
            "Memory of all runtimes",
            "Bytes in use, kept free by requests, and allowed by limits. In use above reserved "
            "means that nodes may run out: raise `spec.limits.requests.memoryMB`.",
            units.BytesIEC,
            *_use_and_bounds(picked("process_resident_memory_bytes"), "memory_bytes"),
        ),
        listing(
            "Nearest to their limit of executions",
            "Executions that run as a share of what may run at once. At 100 % the rest waits: "
            "raise `spec.limits.maxConcurrentAgents`, or `spec.replicas`.",
            Column("used", share(running, places), units.PercentUnit, (0.8, 0.95)),
            most=10,
            named=("organization",),
            width=8,
        ),
        listing(
            "Longest waits in a queue",
            "Age of the execution that waits longest. Seconds are a burst; minutes mean that an "
            "organization needs more places or a faster provider.",
            Column(
                "oldest",
                highest(picked("bulkhead_queue_oldest_age_seconds"), "organization"),
                units.Seconds,
                (5, 30),
            ),
            most=10,
            named=("organization",),
            width=8,
        ),
        listing(
            "Fullest volumes",
            "Share of the embedded store's volume that is in use. Above 80 % raise "
            "`spec.storage.sizeMB`; a full volume refuses writes.",
            Column("used", share(stored, volume), units.PercentUnit, (0.8, 0.9)),
            most=10,
            named=("organization",),
            width=8,
        ),
    ]


def _use_and_bounds(used: str, resource: str) -> tuple[Line, Line, Line]:
    of_resource = f'resource="{resource}"'
    return (
        Line(total(used), "in use"),
        Line(total(picked("bulkhead_organization_reserved", of_resource)), "reserved"),
        Line(total(picked("bulkhead_organization_limit", of_resource)), "limit"),
    )
