"""Metrics as documents for people and programs without Prometheus: whole, or what changed.

A histogram is told by its count, its sum and the estimates of three quantiles, as Prometheus'
`histogram_quantile` makes them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from bulkhead_runtime.telemetry.instruments import About, Distribution, Labels, Reading, Value

Document = dict[str, Any]

QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def documents(readings: Iterable[Reading]) -> list[Document]:
    """Return all metrics that have a series, each with what it is."""
    return [
        {
            "name": reading.about.name,
            "type": reading.about.kind,
            "description": reading.about.text,
            "samples": _samples(reading.about, reading.series),
        }
        for reading in readings
        if reading.series
    ]


def changes(before: Iterable[Reading], after: Iterable[Reading]) -> list[Document] | None:
    """Return the series that changed, by metric; None where one has gone.

    Both are readings of the same instruments.
    """
    found = []
    for former, reading in zip(before, after, strict=True):
        if former.series == reading.series:
            continue
        if former.series.keys() - reading.series.keys():
            return None
        news = {
            labels: value
            for labels, value in reading.series.items()
            if former.series.get(labels) != value
        }
        name = reading.about.name
        found.append({"name": name, "samples": _samples(reading.about, news)})
    return found


def summary(distribution: Distribution, bounds: tuple[float, ...]) -> Document:
    """Return what is told of a distribution; quantiles of none are None."""
    estimates = {
        name: quantile(distribution.counts, bounds, share) for name, share in QUANTILES.items()
    }
    return {"count": distribution.count, "sum": round(distribution.total, 9), **estimates}


def quantile(counts: list[int], bounds: tuple[float, ...], share: float) -> float | None:
    """Return the estimate of a quantile: even within its bucket, the last bound beyond all.

    None where there are no observations.
    """
    rank = share * sum(counts)
    if not rank:
        return None
    up_to = 0
    lower = 0.0
    for count, bound in zip(counts, bounds, strict=False):
        if up_to + count >= rank:
            return round(lower + (bound - lower) * (rank - up_to) / count, 9)
        up_to += count
        lower = bound
    return bounds[-1]


def _samples(about: About, series: Mapping[Labels, Value]) -> list[Document]:
    return [
        {"labels": dict(zip(about.labels, labels, strict=True)), **_figures(about, value)}
        for labels, value in sorted(series.items())
    ]


def _figures(about: About, value: Value) -> Document:
    if isinstance(value, Distribution):
        return summary(value, about.bounds)
    return {"value": value}
