"""What the platform team measures of one replica, whose labels are bounded.

Series of single objects are in `object_metrics`, those of reconciles in `queue_metrics`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from bulkhead_operator.object_metrics import ObjectMetrics
from bulkhead_operator.queue_metrics import QueueMetrics
from bulkhead_operator.settings import ResourcePrices

GIBIBYTE: Final = 1024**3
FREE: Final = ResourcePrices()


class WatchAges(Collector):
    """How long ago each watch was known to hear; nothing while this replica does not lead."""

    def __init__(self) -> None:
        self._ages: Callable[[], Mapping[str, float]] = dict

    def follow(self, ages: Callable[[], Mapping[str, float]]) -> None:
        """Ask `ages` from now on: kind to seconds."""
        self._ages = ages

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the series; called from the metrics server's thread."""
        family = GaugeMetricFamily(
            "bulkhead_watch_last_event_age_seconds",
            "Seconds since a watch was known to hear: an event, a bookmark, or a passed audit.",
            labels=("kind",),
        )
        for kind, age in self._ages().items():
            family.add_metric((kind,), age)
        yield family

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return nothing, so that registering does not collect."""
        return ()


class Metrics:
    """Every metric of the operator, on a registry of its own."""

    def __init__(self, version: str, prices: ResourcePrices = FREE) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.objects = ObjectMetrics(self.registry)
        self.queue = QueueMetrics(self.registry)
        self.watches = WatchAges()
        self.registry.register(self.watches)
        self.rollouts_ended = Counter(
            "bulkhead_rollouts",
            "Rollouts that ended, by outcome: completed or rolled_back.",
            ("outcome",),
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
        _tell_prices(prices, self.registry)


def _tell_prices(prices: ResourcePrices, registry: CollectorRegistry) -> None:
    told = Gauge(
        "bulkhead_resource_price_usd_per_hour",
        "US dollars per hour for one core or byte that is reserved; 0 where nobody named one.",
        ("resource",),
        registry=registry,
    )
    told.labels("cpu_cores").set(prices.cpu_core)
    told.labels("memory_bytes").set(prices.memory_gib / GIBIBYTE)
    told.labels("storage_bytes").set(prices.storage_gib / GIBIBYTE)
