"""What a scrape gets: Prometheus' text, or OpenMetrics with exemplars where it is asked for.

The client library renders; it takes a tenth of a second and several megabytes to import, which
only who is scraped pays.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from bulkhead_runtime.telemetry.instruments import About, Distribution, Reading


def render(readings: Iterable[Reading], accept: str) -> tuple[bytes, str]:
    """Return the text and its media type as the header `Accept` asks; slow with many series."""
    encode: Callable[[Collector], bytes]
    encode, media_type = choose_encoder(accept)
    return encode(_Read(readings)), media_type


class _Read(Collector):
    """Readings as the library wants them."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterable[Metric]:
        return map(_family, self._readings)


def _family(reading: Reading) -> Metric:
    about = reading.about
    if about.kind == "histogram":
        return _histogram(reading)
    made = CounterMetricFamily if about.kind == "counter" else GaugeMetricFamily
    family = made(about.name, about.text, labels=about.labels)
    for labels, value in reading.series.items():
        assert not isinstance(value, Distribution)
        family.add_metric(labels, value)
    return family


def _histogram(reading: Reading) -> Metric:
    about = reading.about
    family = HistogramMetricFamily(about.name, about.text, labels=about.labels)
    for labels, value in reading.series.items():
        assert isinstance(value, Distribution)
        family.add_metric(labels, list(_buckets(about, value)), value.total)
    return family


def _buckets(
    about: About, value: Distribution
) -> Iterator[tuple[str, float] | tuple[str, float, Exemplar]]:
    """Yield each bucket's bound with the observations up to it, and one to look at."""
    up_to = 0
    bounds = (*map(floatToGoString, about.bounds), "+Inf")
    for index, (bound, count) in enumerate(zip(bounds, value.counts, strict=True)):
        up_to += count
        found = value.exemplars.get(index)
        if found is None:
            yield bound, up_to
        else:
            yield bound, up_to, Exemplar({"trace_id": found.trace_id}, found.value, found.at)
