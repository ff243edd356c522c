"""Counters, gauges and histograms as plain numbers of the event loop's thread.

The client library of Prometheus takes three to four times as long to count (docs/design/0023), lets
nobody read what was counted but by rendering it, and tells nobody that something was: what a stream
of changes and a history need. It renders the text that a scrape gets (`exposition`).

No instrument has more than `MAX_SERIES` series, whatever its labels are made of.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sized
from typing import Final, Literal, TypeVar

from msgspec import Struct, field

from bulkhead_runtime.telemetry.changes import Changes
from bulkhead_runtime.telemetry.labels import OTHER

Labels = tuple[str, ...]
Kind = Literal["counter", "gauge", "histogram"]

MAX_SERIES: Final = 1_000
"""Series of one instrument; what comes after them is counted in one whose labels are `other`."""


class About(Struct, frozen=True):
    """What a metric is; the name is the one that queries use, a counter's with `_total`.

    `bounds` are the upper bounds of a histogram's buckets, the last bucket's is infinity.
    """

    name: str
    kind: Kind
    text: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()


class Exemplar(Struct, frozen=True):
    """One observation whose trace can be looked at; `at` in seconds of Unix time."""

    trace_id: str
    value: float
    at: float


class Distribution(Struct):
    """How many observations each bucket of a histogram has, and what they sum up to."""

    counts: list[int]
    total: float = 0.0
    exemplars: dict[int, Exemplar] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Return the number of observations."""
        return sum(self.counts)

    def copy(self) -> "Distribution":
        """Return the same that does not change any more."""
        return Distribution(self.counts.copy(), self.total, self.exemplars.copy())


Value = float | Distribution


class Reading(Struct, frozen=True):
    """A metric's series at one moment."""

    about: About
    series: Mapping[Labels, Value]


class Counter:
    """Counts; a series begins with its first count."""

    def __init__(self, about: About, changes: Changes) -> None:
        self.about = about
        self._changes = changes
        self._values: dict[Labels, float] = {} if about.labels else {(): 0}

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        """Count `amount` in the series of these labels."""
        values = self._values
        if labels in values:
            values[labels] += amount
        else:
            labels = _admitted(labels, values)
            values[labels] = values.get(labels, 0) + amount
        self._changes.note()

    def show(self, values: Mapping[Labels, float]) -> None:
        """Show exactly these series; for what others count."""
        self._values = dict(values)

    def keep(self, wanted: Callable[[Labels], bool]) -> None:
        """Forget the series whose labels are not wanted any more."""
        self._values = {key: value for key, value in self._values.items() if wanted(key)}

    def read(self) -> Reading:
        """Return all series."""
        return Reading(self.about, self._values.copy())


class Gauge:
    """Shows values; a series that nobody set is not there."""

    def __init__(self, about: About, changes: Changes) -> None:
        self.about = about
        self._changes = changes
        self._values: dict[Labels, float] = {}

    def set(self, value: float, labels: Labels = ()) -> None:
        """Show `value` from now on, and say that it changed."""
        if self._values.get(labels) != value:
            if labels not in self._values:
                labels = _admitted(labels, self._values)
            self._values[labels] = value
            self._changes.note()

    def show(self, values: Mapping[Labels, float]) -> None:
        """Show exactly these series; for what is looked up when somebody reads."""
        self._values = dict(list(values.items())[:MAX_SERIES])

    def keep(self, wanted: Callable[[Labels], bool]) -> None:
        """Forget the series whose labels are not wanted any more."""
        self._values = {key: value for key, value in self._values.items() if wanted(key)}

    def read(self) -> Reading:
        """Return all series."""
        return Reading(self.about, self._values.copy())


class Histogram:
    """Counts observations by size; with `trace` the latest of each bucket names its trace.

    `trace` returns the id of the trace that is being recorded in this task, None where none is.
    """

    def __init__(
        self, about: About, changes: Changes, trace: Callable[[], str | None] | None = None
    ) -> None:
        self.about = about
        self._bounds = about.bounds
        self._changes = changes
        self._trace = trace
        self._values: dict[Labels, Distribution] = {}

    def observe(self, value: float, labels: Labels = ()) -> None:
        """Count one observation in the series of these labels."""
        found = self._values.get(labels)
        if found is None:
            found = self._begin(labels)
        bucket = bisect_left(self._bounds, value)
        found.counts[bucket] += 1
        found.total += value
        if self._trace is not None and (trace_id := self._trace()) is not None:
            found.exemplars[bucket] = Exemplar(trace_id, value, time.time())
        self._changes.note()

    def keep(self, wanted: Callable[[Labels], bool]) -> None:
        """Forget the series whose labels are not wanted any more."""
        self._values = {key: value for key, value in self._values.items() if wanted(key)}

    def read(self) -> Reading:
        """Return all series, which do not change any more."""
        return Reading(self.about, {labels: value.copy() for labels, value in self._values.items()})

    def _begin(self, labels: Labels) -> Distribution:
        labels = _admitted(labels, self._values)
        nothing = Distribution([0] * (len(self._bounds) + 1))
        return self._values.setdefault(labels, nothing)


Instrument = Counter | Gauge | Histogram
Made = TypeVar("Made", Counter, Gauge, Histogram)


class Instruments:
    """Makes the instruments of one runtime and reads them all at once.

    `trace` returns the id of the trace that is being recorded in this task, None where none is.
    """

    counters: type[Counter] = Counter
    gauges: type[Gauge] = Gauge
    histograms: type[Histogram] = Histogram

    def __init__(self, trace: Callable[[], str | None] | None = None) -> None:
        self.changes = Changes()
        self._trace = trace
        self._made: list[Instrument] = []

    def counter(self, name: str, text: str, labels: Labels = ()) -> Counter:
        """Return a new counter."""
        return self._keep(self.counters(About(name, "counter", text, labels), self.changes))

    def gauge(self, name: str, text: str, labels: Labels = ()) -> Gauge:
        """Return a new gauge."""
        return self._keep(self.gauges(About(name, "gauge", text, labels), self.changes))

    def histogram(
        self,
        name: str,
        text: str,
        labels: Labels = (),
        *,
        bounds: tuple[float, ...],
        traced: bool = False,
    ) -> Histogram:
        """Return a new histogram; `traced` lets its buckets name traces."""
        about = About(name, "histogram", text, labels, bounds)
        return self._keep(self.histograms(about, self.changes, self._trace if traced else None))

    def abouts(self) -> Iterator[About]:
        """Yield what each instrument is."""
        return (instrument.about for instrument in self._made)

    def read(self) -> tuple[Reading, ...]:
        """Return everything at this moment, sorted by name."""
        readings = (instrument.read() for instrument in self._made)
        return tuple(sorted(readings, key=lambda reading: reading.about.name))

    def _keep(self, made: Made) -> Made:
        self._made.append(made)
        return made


def _admitted(labels: Labels, known: Sized) -> Labels:
    """Return the labels of a new series: those of the common one where there are many already."""
    return labels if len(known) < MAX_SERIES else (OTHER,) * len(labels)
