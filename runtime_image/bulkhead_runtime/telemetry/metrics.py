"""Metrics of the runtime, with label sets that cannot grow with what clients send.

Agents, packages and versions come from the configuration, routes and outcomes from the code.
Gauges are read when they are scraped, so the hot path pays for counters only.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bulkhead_runtime.telemetry.measurements import VersionMeasurements
from bulkhead_runtime.telemetry.work_metrics import (
    ContextMetrics,
    ModelMetrics,
    SpendingMetrics,
    StoreMetrics,
    ToolMetrics,
)

DURATION_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is true at the moment of a scrape; `versions` maps (package, version) to its weight."""

    active: int
    queued: int
    sessions: int
    pool_bytes: int
    versions: Mapping[tuple[str, str], int]


class Metrics:
    """The registry of one runtime."""

    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it so
        self.registry = CollectorRegistry()
        # The library finds a series by its labels more slowly than it counts.
        self._requests = cache(
            Counter(
                "bulkhead_requests",
                "Requests by route and status.",
                ("route", "status"),
                registry=self.registry,
            ).labels
        )
        self._executions = Counter(
            "bulkhead_executions",
            "Executions by agent, package version and outcome.",
            ("agent", "package", "version", "outcome"),
            registry=self.registry,
        )
        self._ended = cache(self._executions.labels)
        self._duration = cache(
            Histogram(
                "bulkhead_execution_duration_seconds",
                "Time from arrival to end of executions.",
                ("agent",),
                buckets=DURATION_BUCKETS,
                registry=self.registry,
            ).labels
        )
        self._tokens = cache(
            Counter(
                "bulkhead_tokens",
                "Tokens by agent and direction.",
                ("agent", "direction"),
                registry=self.registry,
            ).labels
        )
        self._cost = cache(
            Counter(
                "bulkhead_cost_usd",
                "US dollars spent on models, where a price is known.",
                ("agent",),
                registry=self.registry,
            ).labels
        )
        self.tools = ToolMetrics(self.registry)
        self.models = ModelMetrics(self.registry)
        self.spending = SpendingMetrics(self.registry)
        self.context = ContextMetrics(self.registry)
        self.stores = StoreMetrics(self.registry)
        self.versions = VersionMeasurements()
        self._labels: set[tuple[str, str, str, str]] = set()
        self.registry.register(_GaugeCollector(gauges))

    def request_answered(self, route: str, status: int) -> None:
        """Count one answer; `route` is a template from the code."""
        self._requests(route, status).inc()

    def execution_ended(self, agent: str, package: str, version: str, outcome: str) -> None:
        """Count one execution."""
        labels = (agent, package, version, outcome)
        self._labels.add(labels)
        self._ended(*labels).inc()

    def used(
        self, agent: str, *, seconds: float, tokens: tuple[int, int], cost: float | None
    ) -> None:
        """Count what one execution took; `tokens` are of input and output."""
        self._duration(agent).observe(seconds)
        if any(tokens):
            self._tokens(agent, "input").inc(tokens[0])
            self._tokens(agent, "output").inc(tokens[1])
        if cost:
            self._cost(agent).inc(cost)

    def keep(self, versions: Iterable[tuple[str, str]]) -> None:
        """Count for these package versions and drop the series of all others."""
        loaded = set(versions)
        self.versions.keep(loaded)
        departed = {labels for labels in self._labels if labels[1] and labels[1:3] not in loaded}
        for labels in departed:
            self._executions.remove(*labels)
        self._labels -= departed
        self._ended.cache_clear()

    def render(self) -> bytes:
        """Return the exposition text; slow with many series, so never on the event loop."""
        return generate_latest(self.registry)


class _GaugeCollector(Collector):
    """Turns `Gauges` into metric families."""

    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        now = self._gauges()
        for name, text, value in (
            ("bulkhead_executions_active", "Executions that run.", now.active),
            ("bulkhead_executions_queued", "Executions that wait for a place.", now.queued),
            ("bulkhead_sessions", "Sessions in the store.", now.sessions),
            ("bulkhead_pool_used_bytes", "Bytes that conversations take.", now.pool_bytes),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        weights = GaugeMetricFamily(
            "bulkhead_package_version_weight",
            "Share of new sessions in percent, per loaded package version.",
            labels=("package", "version"),
        )
        for labels, weight in now.versions.items():
            weights.add_metric(labels, weight)
        yield weights
