"""What metrics were can be read afterwards, whoever recorded it and however coarsely."""

from collections.abc import Mapping
from typing import Any

from bulkhead_runtime.errors import store_unavailable
from bulkhead_runtime.recorder import Recorder
from bulkhead_runtime.store.figures import FigureRow
from bulkhead_runtime.telemetry.history import RECORDED, points
from bulkhead_runtime.telemetry.instruments import Reading
from bulkhead_runtime.telemetry.metrics import Metrics
from bulkhead_runtime.telemetry.standing import Standing

HOUR = 1_000_000 * 3_600
"""An hour's begin, in Unix seconds."""


class Shelf:
    """Keeps rows as a store does, or is away."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int, str], FigureRow] = {}
        self.writes = 0
        self.away = False
        self.oldest: Mapping[int, int] = {}

    async def keep_figures(self, rows: tuple[FigureRow, ...], *, oldest: Mapping[int, int]) -> None:
        if self.away:
            raise store_unavailable("away")
        self.writes += 1
        self.oldest = oldest
        self.rows.update({(row.step, row.at, row.process): row for row in rows})

    async def figures(self, step: int, *, since: int, until: int) -> tuple[FigureRow, ...]:
        found = [row for row in self.rows.values() if row.step == step and since <= row.at < until]
        return tuple(sorted(found, key=lambda row: (row.at, row.process)))


class Replica:
    """One process that records on a shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self.metrics = Metrics()
        self.standing = Standing(active=0, queued=0, sessions=0, pool_bytes=0)
        self.looks = 0
        self._recorder = Recorder(shelf, self._read, self._look)

    def _read(self) -> tuple[Reading, ...]:
        return self.metrics.read(self.standing)

    async def _look(self) -> None:
        self.looks += 1

    async def record(self, seconds: int) -> None:
        await self._recorder.record(HOUR + seconds)

    def executions(self, count: int, seconds: float = 0.1) -> None:
        for _ in range(count):
            self.metrics.executions.ended("a", "pack", "1", "completed")
            self.metrics.executions.took("a", seconds)
            self.metrics.executions.spent("a", (3, 4), 0.5)


async def _past(shelf: Shelf, metric: str, step: int = 10) -> list[tuple[int, Any]]:
    rows = await shelf.figures(step, since=0, until=2 * HOUR)
    about = Metrics().about(metric)
    told = points([(row.at, row.figures) for row in rows], about)
    return [(point["at"] - HOUR, point.get("value", point.get("count"))) for point in told]


async def test_a_counter_tells_what_came_in_each_interval() -> None:
    shelf = Shelf()
    replica = Replica(shelf)
    replica.executions(3)
    await replica.record(0)
    replica.executions(2)
    await replica.record(10)

    assert await _past(shelf, "bulkhead_executions_total") == [(0, 3), (10, 2)]
    assert await _past(shelf, "bulkhead_tokens_total") == [(0, 21), (10, 14)]
    assert await _past(shelf, "bulkhead_cost_usd_total") == [(0, 1.5), (10, 1.0)]


async def test_nothing_is_written_or_asked_while_nothing_happens() -> None:
    shelf = Shelf()
    replica = Replica(shelf)
    replica.executions(1)
    await replica.record(0)
    for second in range(10, 600, 10):
        replica.metrics.request_answered("/health", 200)
        replica.metrics.request_answered("/metrics", 200)
        await replica.record(second)

    assert (shelf.writes, replica.looks) == (1, 1)


async def test_coarse_intervals_are_the_sums_of_the_fine_ones() -> None:
    shelf = Shelf()
    replica = Replica(shelf)
    for second in range(0, 1_800, 10):
        replica.executions(1)
        await replica.record(second)

    minutes = await _past(shelf, "bulkhead_executions_total", 60)
    assert minutes == [(begin, 6) for begin in range(0, 1_800, 60)]
    assert await _past(shelf, "bulkhead_executions_total", 900) == [(0, 90), (900, 90)]


async def test_a_histogram_keeps_its_buckets_so_that_quantiles_of_coarse_intervals_are_right() -> (
    None
):
    shelf = Shelf()
    replica = Replica(shelf)
    replica.executions(9, 0.04)
    await replica.record(0)
    replica.executions(1, 50)
    await replica.record(10)

    about = Metrics().about("bulkhead_execution_duration_seconds")
    rows = await shelf.figures(60, since=0, until=2 * HOUR)
    (point,) = points([(row.at, row.figures) for row in rows], about)
    assert (point["count"], round(point["sum"], 3)) == (10, 50.36)
    assert point["p50"] < 0.05
    assert point["p99"] > 30


async def test_a_gauge_keeps_the_most_it_showed_and_says_when_it_fell_to_zero() -> None:
    shelf = Shelf()
    replica = Replica(shelf)
    for second, active in ((0, 2), (10, 5), (20, 1), (30, 0), (40, 0)):
        replica.standing = Standing(active=active)
        await replica.record(second)

    gauge = "bulkhead_executions_active"
    assert await _past(shelf, gauge) == [(0, 2), (10, 5), (20, 1), (30, 0)]
    assert await _past(shelf, gauge, 60) == [(0, 5)]


async def test_replicas_add_up_and_what_they_share_is_counted_once() -> None:
    shelf = Shelf()
    for active in (2, 3):
        replica = Replica(shelf)
        replica.executions(active)
        replica.standing = Standing(active=active, sessions=40)
        await replica.record(0)

    assert await _past(shelf, "bulkhead_executions_total") == [(0, 5)]
    assert await _past(shelf, "bulkhead_executions_active") == [(0, 5)]
    assert await _past(shelf, "bulkhead_sessions") == [(0, 40)]


async def test_a_process_that_begins_anew_neither_repeats_nor_overwrites_what_was() -> None:
    shelf = Shelf()
    before = Replica(shelf)
    before.executions(4)
    await before.record(0)
    after = Replica(shelf)
    after.executions(1)
    await after.record(10)

    assert await _past(shelf, "bulkhead_executions_total", 60) == [(0, 5)]


async def test_a_version_that_leaves_takes_nothing_from_what_was_counted() -> None:
    shelf = Shelf()
    replica = Replica(shelf)
    replica.executions(4)
    await replica.record(0)
    replica.metrics.keep({("pack", "2")}, {"a"})
    replica.metrics.executions.ended("a", "pack", "2", "completed")
    await replica.record(10)

    assert await _past(shelf, "bulkhead_executions_total") == [(0, 4), (10, 1)]


async def test_a_version_that_leaves_and_comes_back_is_counted_anew() -> None:
    shelf = Shelf()
    replica = Replica(shelf)
    replica.executions(4)
    await replica.record(0)
    replica.metrics.keep({("pack", "2")}, {"a"})
    replica.executions(1)
    await replica.record(10)

    assert await _past(shelf, "bulkhead_executions_total") == [(0, 4), (10, 1)]


async def test_a_store_that_is_away_costs_only_the_fine_intervals() -> None:
    shelf = Shelf()
    replica = Replica(shelf)
    shelf.away = True
    replica.executions(2)
    await replica.record(0)
    shelf.away = False
    replica.executions(1)
    await replica.record(10)

    assert await _past(shelf, "bulkhead_executions_total") == [(10, 1)]
    assert await _past(shelf, "bulkhead_executions_total", 60) == [(0, 3)]


async def test_every_write_forgets_what_is_past_its_retention() -> None:
    shelf = Shelf()
    replica = Replica(shelf)
    replica.executions(1)
    await replica.record(0)

    assert shelf.oldest == {10: HOUR - 3_600, 60: HOUR - 86_400, 900: HOUR - 30 * 86_400}


async def test_a_busy_hour_is_a_few_kilobytes() -> None:
    shelf = Shelf()
    replica = Replica(shelf)
    for second in range(0, 3_600, 10):
        replica.executions(7)
        replica.metrics.request_answered("/v1/agents/{agent}/execute", 200)
        replica.metrics.models.called("a/b", "ok", 0.3)
        replica.standing = Standing(active=3, queued=1, sessions=900 + second, pool_bytes=10**7)
        await replica.record(second)

    sizes = {
        step: sum(len(row.figures) for row in shelf.rows.values() if row.step == step)
        for step in (10, 60, 900)
    }
    # The finest are overwritten every hour; the others stay.
    assert sizes[10] < 60 * 1024
    assert sizes[60] + sizes[900] < 12 * 1024


def test_every_recorded_metric_is_one_that_the_runtime_has() -> None:
    names = {about.name for about in Metrics().instruments.abouts()}
    assert set(RECORDED) <= names
