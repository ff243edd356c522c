"""Single series of a runtime's metrics."""

from bulkhead_runtime.telemetry.instruments import Instruments, Value


def value_of(instruments: Instruments, metric: str, **labels: str) -> Value | None:
    """Return one series, None where it has not begun."""
    (reading,) = (one for one in instruments.read() if one.about.name == metric)
    return reading.series.get(tuple(labels[name] for name in reading.about.labels))
