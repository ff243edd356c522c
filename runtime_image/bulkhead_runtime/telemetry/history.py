"""What metrics were: sums over intervals, fine for the last hour, coarse for the last month.

A process records what it counted in each interval, and what its gauges showed at the end of it.
Coarse intervals grow along with the fine ones, so nothing has to be condensed later; a reader adds
up what the processes of an organization recorded.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Final

import msgspec
from msgspec import Struct

from bulkhead_runtime.telemetry.instruments import About, Distribution, Reading, Value
from bulkhead_runtime.telemetry.snapshot import Document, summary

RETENTION: Final[Mapping[int, int]] = {10: 3_600, 60: 86_400, 900: 30 * 86_400}
"""The intervals and for how long each is kept, in seconds, the finest first."""


class Recorded(Struct, frozen=True):
    """How a metric is recorded.

    Intervals of it are added up, else the highest is taken; so are processes. `reason` tells
    whether a change of it is a reason to record: a process at rest computes a little, too.
    """

    adds_over_time: bool = True
    adds_over_processes: bool = True
    reason: bool = True


_COUNTED: Final = Recorded()
_OWN: Final = Recorded(adds_over_time=False)
_SHARED: Final = Recorded(adds_over_time=False, adds_over_processes=False)

RECORDED: Final[Mapping[str, Recorded]] = {
    "bulkhead_executions_total": _COUNTED,
    "bulkhead_execution_errors_total": _COUNTED,
    "bulkhead_execution_duration_seconds": _COUNTED,
    "bulkhead_first_token_seconds": _COUNTED,
    "bulkhead_queue_wait_seconds": _COUNTED,
    "bulkhead_turns_total": _COUNTED,
    "bulkhead_tokens_total": _COUNTED,
    "bulkhead_cost_usd_total": _COUNTED,
    "bulkhead_model_calls_total": _COUNTED,
    "bulkhead_model_fallbacks_total": _COUNTED,
    "gen_ai_client_operation_duration_seconds": _COUNTED,
    "bulkhead_tool_calls_total": _COUNTED,
    "bulkhead_tool_denials_total": _COUNTED,
    "bulkhead_compactions_total": _COUNTED,
    "bulkhead_context_cleanups_total": _COUNTED,
    "bulkhead_budget_refusals_total": _COUNTED,
    "bulkhead_events_lost_total": _COUNTED,
    "bulkhead_requests_total": _COUNTED,
    "bulkhead_executions_active": _OWN,
    "bulkhead_executions_queued": _OWN,
    "bulkhead_sessions": _SHARED,
    "bulkhead_pool_used_bytes": _SHARED,
    "process_cpu_seconds_total": Recorded(reason=False),
    "process_resident_memory_bytes": Recorded(adds_over_time=False, reason=False),
}
"""The metrics that are recorded. A row names them by their place: append only, never reorder."""

_NAMES: Final = tuple(RECORDED)
_PLACES: Final = {name: place for place, name in enumerate(_NAMES)}
_RULES: Final = tuple(RECORDED.values())
_PROBES: Final = frozenset({"/health", "/readiness", "/metrics", "/internal/state"})
"""Routes that the cluster asks all the time, which says nothing about anybody's work."""

Figure = list[float]
"""One number; of a histogram its sum and the count of each bucket."""

Figures = dict[int, Figure]
"""By place in `RECORDED`; what is zero is left out."""


class Sampler:
    """Tells what came since it was asked last."""

    def __init__(self) -> None:
        self._former: dict[str, Reading] = {}
        self._recorded: Figures = {}

    def sample(self, readings: Iterable[Reading]) -> Figures | None:
        """Return what came since the last sample, None where that is not worth recording."""
        readings = tuple(readings)
        figures = self._figures(readings)
        self._former = {reading.about.name: reading for reading in readings}
        if not self._is_worth(figures):
            return None
        self._recorded = figures
        return figures

    def finds(self, readings: Iterable[Reading]) -> bool:
        """Tell whether a sample of these would be worth recording."""
        return self._is_worth(self._figures(readings))

    def _figures(self, readings: Iterable[Reading]) -> Figures:
        figures: Figures = {}
        for reading in readings:
            place = _PLACES.get(reading.about.name)
            if place is not None:
                figure = _since(self._former.get(reading.about.name), reading)
                if any(figure):
                    figures[place] = figure
        return figures

    def _is_worth(self, figures: Figures) -> bool:
        return any(self._is_news(place, figures.get(place)) for place in range(len(_RULES)))

    def _is_news(self, place: int, figure: Figure | None) -> bool:
        """Tell whether a figure is a reason to record; work that goes on is one."""
        rule = _RULES[place]
        if not rule.reason:
            return False
        if rule.adds_over_time:
            return figure is not None
        goes_on = rule.adds_over_processes and figure is not None
        return goes_on or figure != self._recorded.get(place)


def combined(earlier: Figures, later: Figures) -> Figures:
    """Return the figures of two intervals of one process as one."""
    return _merged(earlier, later, lambda rule: rule.adds_over_time)


def encode(figures: Figures) -> bytes:
    """Return figures as a store keeps them."""
    return msgspec.msgpack.encode(figures)


def points(rows: Iterable[tuple[int, bytes]], about: About) -> Iterator[Document]:
    """Yield what a metric was in each interval that was recorded.

    `rows` are pairs of an interval's begin, in order, and what one process recorded of it.
    """
    place, nothing = _PLACES[about.name], _nothing(about)
    for at, of_interval in groupby(rows, key=itemgetter(0)):
        figures: Figures = {}
        for _, row in of_interval:
            recorded = msgspec.msgpack.decode(row, type=Figures)
            figures = _merged(figures, recorded, lambda rule: rule.adds_over_processes)
        yield {"at": at, **_told(figures.get(place, nothing), about)}


def _nothing(about: About) -> Figure:
    return [0] if about.kind != "histogram" else [0] * (len(about.bounds) + 2)


def _since(former: Reading | None, reading: Reading) -> Figure:
    """Return what a metric's series have counted since, or what a gauge shows."""
    since = _nothing(reading.about)
    counts = reading.about.kind != "gauge"
    for labels, value in reading.series.items():
        if reading.about.name == "bulkhead_requests_total" and labels[0] in _PROBES:
            continue
        figure = _figure(value)
        before = former.series.get(labels) if former is not None and counts else None
        if before is not None:
            figure = _less(figure, _figure(before))
        since = _added(since, figure)
    return since


def _figure(value: Value) -> Figure:
    return [value.total, *value.counts] if isinstance(value, Distribution) else [value]


def _less(now: Figure, before: Figure) -> Figure:
    """Return the difference; a series that began anew meanwhile counts whole."""
    if now[0] < before[0]:
        return now
    return [one - other for one, other in zip(now, before, strict=True)]


def _added(one: Figure, other: Figure) -> Figure:
    """Return the sum; of buckets that differ, as those of two releases may, the later ones."""
    if len(one) != len(other):
        return other
    return [first + second for first, second in zip(one, other, strict=True)]


def _merged(one: Figures, other: Figures, adds: Callable[[Recorded], bool]) -> Figures:
    """Return both; a place that only a later release knows is left out."""
    merged = dict(one)
    for place, figure in other.items():
        if place >= len(_RULES):
            continue
        held = merged.get(place)
        if held is None:
            merged[place] = figure
        else:
            merged[place] = (_added if adds(_RULES[place]) else max)(held, figure)
    return merged


def _told(figure: Figure, about: About) -> Document:
    if about.kind != "histogram":
        return {"value": round(figure[0], 9)}
    total, *counts = figure if len(figure) == len(about.bounds) + 2 else _nothing(about)
    return summary(Distribution([int(count) for count in counts], total), about.bounds)
