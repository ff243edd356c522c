"""The operator: whether one leads and hears, how fast it works, what the API server says."""

from typing import Final

from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units

from dashboards.grafana.frame import Section, framed
from dashboards.grafana.panels import Column, Line, Panel, figure, graph, listing
from dashboards.grafana.queries import (
    highest,
    operators,
    or_zero,
    picked,
    quantile,
    rate,
    share,
    total,
)

_AGES: Final = operators("bulkhead_watch_last_event_age_seconds")
_OF_OPERATOR: Final = 'organization=""'


def dashboard() -> models.Dashboard:
    """Return the dashboard of the operator itself."""
    return framed(
        "operator",
        "Operator",
        "Whether the operator leads, hears and keeps pace. Runtimes serve on while it does not: "
        "what waits here is change.",
        (
            Section("Leadership and hearing", [*_leading(), *_hearing()]),
            Section("Reconciles", _reconciles()),
            Section("Queue", _queue()),
            Section("API server and process", _outside()),
        ),
    )


def _leading() -> list[Panel]:
    return [
        figure(
            "Leaders",
            "Replicas that lead: exactly one. None for longer than the lease lasts: read the "
            "operator's log, and see that the API server answers.",
            units.Short,
            or_zero(total(operators("bulkhead_leader"))),
        ),
        figure(
            "Replicas",
            "Replicas that Prometheus reaches. With one alone nobody stands by.",
            units.Short,
            f"count({operators('bulkhead_leader')})",
        ),
        figure(
            "Oldest word from a watch",
            "Seconds since the watch that is silent longest was known to hear. Above 150 the "
            "operator is deaf to some kind and restarts itself.",
            units.Seconds,
            highest(_AGES),
            limits=(120, 150),
        ),
        figure(
            "Restarted parts",
            "Parts of the operator that ended and were started again in the last hour. Again and "
            "again: read its log.",
            units.Short,
            or_zero(
                total(f"increase({operators('bulkhead_supervised_restarts_total')}[1h])", "part")
            ),
            limits=(1, 5),
            legend="{{part}}",
        ),
        figure(
            "Dropped events",
            "Events for people that were not sent in the last hour because too many waited. "
            "Status and logs still have what they told.",
            units.Short,
            total(f"increase({operators('bulkhead_events_dropped_total')}[1h])"),
            limits=(1, 100),
        ),
        figure(
            "Releases",
            "Replicas of the operator by release. Two for long mean an upgrade that halted.",
            units.Short,
            f"count by (version) ({operators('bulkhead_build_info', _OF_OPERATOR)})",
            legend="{{version}}",
        ),
    ]


def _hearing() -> list[Panel]:
    conditions = picked("bulkhead_resource_condition", 'type=~"Ready|Stalled|Reconciling"')
    return [
        graph(
            "Last word from each watch",
            "Seconds since each watch was known to hear: an event, a bookmark, or an audit that "
            "found nothing undelivered. A saw below 150 is well.",
            units.Seconds,
            Line(highest(_AGES, "kind"), "{{kind}}"),
            limits=(120, 150),
        ),
        listing(
            "Conditions by kind",
            "Objects by the conditions that hold. Stalled ones wait for a person.",
            Column("objects", f"count by (kind, type, status) ({conditions})"),
            named=("kind", "type", "status"),
            sort="kind",
        ),
    ]


def _reconciles() -> list[Panel]:
    done = rate(operators("controller_runtime_reconcile_total"))
    failed = rate(operators("controller_runtime_reconcile_errors_total"))
    buckets = operators("controller_runtime_reconcile_time_seconds_bucket")
    return [
        graph(
            "Reconciles by result",
            "Reconciles that end. success and requeue_after are well.",
            units.OpsPerSecond,
            Line(total(done, "controller", "result"), "{{controller}} {{result}}"),
            stacked=True,
            width=8,
        ),
        graph(
            "Failing reconciles",
            "Share of reconciles that failed and are tried again. Lasting errors are in the "
            "operator's log with the object's name.",
            units.PercentUnit,
            Line(share(total(failed, "controller"), total(done, "controller")), "{{controller}}"),
            limits=(0.01, 0.1),
            width=8,
        ),
        graph(
            "Duration of a reconcile, p95",
            "Time that one takes. Rising with the fleet means an API server that slows down.",
            units.Seconds,
            Line(
                quantile(0.95, buckets, "controller"),
                "{{controller}}",
            ),
            limits=(1, 10),
            width=8,
        ),
    ]


def _queue() -> list[Panel]:
    waits = operators("workqueue_queue_duration_seconds_bucket")
    return [
        graph(
            "Keys that wait",
            "Objects that wait for their reconcile, by lane. Interactive is what a person just "
            "changed; it should be empty almost always.",
            units.Short,
            Line(total(operators("workqueue_depth"), "name"), "{{name}}"),
            width=6,
        ),
        graph(
            "Wait in the queue, p95",
            "Time from change to the start of its reconcile, by lane. Seconds in the interactive "
            "lane: raise `operator.workers` if the process has CPU to spare.",
            units.Seconds,
            Line(quantile(0.95, waits, "name"), "{{name}}"),
            limits=(1, 10),
            width=6,
        ),
        graph(
            "Keys put on the queue",
            "Changes and resyncs, and keys that are tried again.",
            units.OpsPerSecond,
            Line(total(rate(operators("workqueue_adds_total")), "name"), "{{name}}"),
            Line(total(rate(operators("workqueue_retries_total")), "name"), "again: {{name}}"),
            width=6,
        ),
        graph(
            "Workers",
            "Reconciles at work, by kind; `operator.workers` bounds their sum.",
            units.Short,
            Line(
                total(operators("controller_runtime_active_workers"), "controller"),
                "{{controller}}",
            ),
            stacked=True,
            width=6,
        ),
    ]


def _outside() -> list[Panel]:
    answers = rate(operators("rest_client_requests_total"))
    return [
        graph(
            "Answers of the API server",
            "Requests by method and status. 409 are races and harmless, 403 a missing role, 429 "
            "an API server that is short of room, 0 no answer.",
            units.RequestsPerSecond,
            Line(total(answers, "method", "code"), "{{method}} {{code}}"),
            width=8,
        ),
        graph(
            "CPU of the operator",
            "Cores in use by each replica. The one that leads does the work.",
            units.Short,
            Line(rate(operators("process_cpu_seconds_total", _OF_OPERATOR)), "{{instance}}"),
            width=8,
        ),
        graph(
            "Memory of the operator",
            "Resident bytes of each replica; it grows with the number of objects. Near "
            "`operator.resources.limits.memory` raise that.",
            units.BytesIEC,
            Line(operators("process_resident_memory_bytes", _OF_OPERATOR), "{{instance}}"),
            width=8,
        ),
    ]
