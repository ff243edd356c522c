"""What the queue measures: which work waits, for how long, and what came of it.

The names are controller-runtime's, so that dashboards made for it fit.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class QueueMetrics:
    """Keys that wait, by lane, and reconciles, by kind."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.depth = Gauge(
            "workqueue_depth", "Keys that wait, by lane.", ("name",), registry=registry
        )
        self.adds = Counter(
            "workqueue_adds", "Keys put on the queue, by lane.", ("name",), registry=registry
        )
        self.retries = Counter(
            "workqueue_retries", "Keys put back with backoff.", ("name",), registry=registry
        )
        self.seconds = Histogram(
            "workqueue_queue_duration_seconds",
            "How long a key waited before its reconcile began, by lane.",
            ("name",),
            buckets=SECONDS,
            registry=registry,
        )
        self.reconciles = Counter(
            "controller_runtime_reconcile",
            "Reconciles by result: success, requeue_after or error.",
            ("controller", "result"),
            registry=registry,
        )
        self.errors = Counter(
            "controller_runtime_reconcile_errors",
            "Reconciles that failed and are retried.",
            ("controller",),
            registry=registry,
        )
        self.reconcile_seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Duration of one reconcile.",
            ("controller",),
            buckets=SECONDS,
            registry=registry,
        )
        self.active_workers = Gauge(
            "controller_runtime_active_workers",
            "Reconciles at work.",
            ("controller",),
            registry=registry,
        )
