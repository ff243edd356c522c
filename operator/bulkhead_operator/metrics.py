"""What the platform team measures, under the names that controller-runtime made common.

Labels are bounded: kinds, results and lanes are few. The one series per object, its conditions, is
kept as a compact table and goes when the object goes.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from bulkhead_operator.reconcile.keys import Key

SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class ConditionsCollector(Collector):
    """One series per object and condition, for the status that holds now."""

    def __init__(self) -> None:
        self._conditions: dict[Key, tuple[tuple[str, str], ...]] = {}

    def set(self, key: Key, conditions: Mapping[str, str]) -> None:
        """Replace an object's conditions: type to status."""
        self._conditions[key] = tuple(sorted(conditions.items()))

    def remove(self, key: Key) -> None:
        """Drop the series of an object that is gone."""
        self._conditions.pop(key, None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the series; called from the metrics server's thread."""
        family = GaugeMetricFamily(
            "bulkhead_resource_condition",
            "Conditions of our resources: 1 for the status that holds.",
            labels=("kind", "namespace", "name", "type", "status"),
        )
        for key, conditions in list(self._conditions.items()):
            for kind, status in conditions:
                family.add_metric((key.kind, key.namespace or "", key.name, kind, status), 1)
        yield family

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return nothing, so that registering does not collect."""
        return ()


class RolloutsCollector(Collector):
    """One series per package: the phase in which its present or last rollout is."""

    def __init__(self) -> None:
        self._phases: dict[Key, str] = {}

    def set(self, key: Key, phase: str) -> None:
        """Replace a package's phase."""
        self._phases[key] = phase

    def remove(self, key: Key) -> None:
        """Drop the series of a package that is gone."""
        self._phases.pop(key, None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the series; called from the metrics server's thread."""
        family = GaugeMetricFamily(
            "bulkhead_rollout_phase",
            "Rollouts of packages: 1 for the phase that holds.",
            labels=("namespace", "name", "phase"),
        )
        for key, phase in list(self._phases.items()):
            family.add_metric((key.namespace or "", key.name, phase), 1)
        yield family

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return nothing, so that registering does not collect."""
        return ()


class Metrics:
    """Every metric of the operator, on a registry of its own."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self.conditions = ConditionsCollector()
        self.registry.register(self.conditions)
        self.rollouts = RolloutsCollector()
        self.registry.register(self.rollouts)
        self.rollouts_ended = Counter(
            "bulkhead_rollouts",
            "Rollouts that ended, by outcome: completed or rolled_back.",
            ("outcome",),
            registry=self.registry,
        )
        self.reconciles = Counter(
            "controller_runtime_reconcile",
            "Reconciles by result: success, requeue_after or error.",
            ("controller", "result"),
            registry=self.registry,
        )
        self.reconcile_errors = Counter(
            "controller_runtime_reconcile_errors",
            "Reconciles that failed and are retried.",
            ("controller",),
            registry=self.registry,
        )
        self.reconcile_seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Duration of one reconcile.",
            ("controller",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.active_workers = Gauge(
            "controller_runtime_active_workers",
            "Reconciles at work.",
            ("controller",),
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "workqueue_depth", "Keys that wait, by lane.", ("name",), registry=self.registry
        )
        self.queue_adds = Counter(
            "workqueue_adds", "Keys put on the queue, by lane.", ("name",), registry=self.registry
        )
        self.queue_retries = Counter(
            "workqueue_retries", "Keys put back with backoff.", ("name",), registry=self.registry
        )
        self.queue_seconds = Histogram(
            "workqueue_queue_duration_seconds",
            "How long a key waited before its reconcile began, by lane.",
            ("name",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.leader = Gauge(
            "bulkhead_leader", "1 while this replica leads.", registry=self.registry
        )
        self.restarts = Counter(
            "bulkhead_supervised_restarts",
            "Parts that ended and were started again within the process.",
            ("part",),
            registry=self.registry,
        )
        self.upgrades = Gauge(
            "bulkhead_upgrade_organizations",
            "Organizations whose pods an upgraded operator restarts, by where they stand.",
            ("phase",),
            registry=self.registry,
        )
        self.events_dropped = Counter(
            "bulkhead_events_dropped",
            "Events for people that were not sent because too many waited.",
            registry=self.registry,
        )
        self.requests = Counter(
            "rest_client_requests",
            "Answers of the API server by status code; code 0 is none.",
            ("method", "code"),
            registry=self.registry,
        )
        build = Gauge("bulkhead_build_info", "Always 1.", ("version",), registry=self.registry)
        build.labels(version).set(1)
