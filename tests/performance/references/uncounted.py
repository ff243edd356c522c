"""The runtime with instruments that count nothing."""

from bulkhead_runtime.store.sqlite import SqliteStore
from bulkhead_runtime.telemetry.instruments import Counter, Gauge, Histogram, Instruments, Labels
from tests.performance.references.own_store import serve


class DeafCounter(Counter):
    """Counts nothing."""

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        """Do nothing."""


class DeafGauge(Gauge):
    """Shows nothing that is told."""

    def set(self, value: float, labels: Labels = ()) -> None:
        """Do nothing."""


class DeafHistogram(Histogram):
    """Observes nothing."""

    def observe(self, value: float, labels: Labels = ()) -> None:
        """Do nothing."""


class DeafInstruments(Instruments):
    """Makes instruments that count nothing."""

    counters = DeafCounter
    gauges = DeafGauge
    histograms = DeafHistogram


if __name__ == "__main__":
    serve(SqliteStore, DeafInstruments())
