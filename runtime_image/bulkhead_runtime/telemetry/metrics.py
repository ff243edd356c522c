"""All metrics of one runtime, with label sets that cannot grow with what clients send.

What happens is counted where it happens; what is true at a moment is looked up when somebody reads,
so the hot path pays for counters only.
"""

from collections.abc import Collection

from bulkhead_runtime.telemetry.execution_metrics import ExecutionMetrics, QueueMetrics
from bulkhead_runtime.telemetry.instruments import About, Instruments, Reading
from bulkhead_runtime.telemetry.measurements import VersionMeasurements
from bulkhead_runtime.telemetry.standing import Standing, StandingMetrics
from bulkhead_runtime.telemetry.work_metrics import (
    ContextMetrics,
    ModelMetrics,
    SpendingMetrics,
    StoreMetrics,
    ToolMetrics,
)


class Metrics:
    """The instruments of one runtime."""

    def __init__(self, instruments: Instruments | None = None) -> None:
        self.instruments = instruments or Instruments()
        self._requests = self.instruments.counter(
            "bulkhead_requests_total", "Requests by route and status.", ("route", "status")
        )
        self.executions = ExecutionMetrics(self.instruments)
        self.queue = QueueMetrics(self.instruments)
        self.tools = ToolMetrics(self.instruments)
        self.models = ModelMetrics(self.instruments)
        self.spending = SpendingMetrics(self.instruments)
        self.context = ContextMetrics(self.instruments)
        self.stores = StoreMetrics(self.instruments)
        self.versions = VersionMeasurements()
        self._standing = StandingMetrics(self.instruments)

    def about(self, name: str) -> About:
        """Return what a metric is."""
        return next(one for one in self.instruments.abouts() if one.name == name)

    def request_answered(self, route: str, status: int) -> None:
        """Count one answer; `route` is a template from the code."""
        self._requests.add((route, str(status)))

    def keep(self, versions: Collection[tuple[str, str]], agents: Collection[str]) -> None:
        """Count for these package versions and agents; drop the series of all others."""
        self.versions.keep(versions)
        self.executions.keep(versions, agents)

    def read(self, standing: Standing) -> tuple[Reading, ...]:
        """Return everything at this moment, when this is true, sorted by name."""
        self._standing.show(standing)
        return self.instruments.read()
