"""What is told of metrics to those without Prometheus."""

import pytest

from bulkhead_runtime.telemetry.instruments import Instruments
from bulkhead_runtime.telemetry.snapshot import changes, documents, quantile

BOUNDS = (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        pytest.param([0, 0, 0, 0], 0.5, None, id="of nothing there is no quantile"),
        pytest.param([10, 0, 0, 0], 0.5, 0.5, id="the first bucket begins at zero"),
        pytest.param([0, 10, 0, 0], 0.5, 1.5, id="observations are even within their bucket"),
        pytest.param([5, 5, 0, 0], 0.95, 1.9, id="buckets below count"),
        pytest.param([1, 0, 0, 9], 0.95, 4.0, id="beyond all bounds it is the last bound"),
    ],
)
def test_a_quantile_is_estimated_as_prometheus_does(
    counts: list[int], share: float, expected: float | None
) -> None:
    assert quantile(counts, BOUNDS, share) == expected


def test_a_document_has_what_is_counted_and_leaves_out_what_never_was() -> None:
    instruments = Instruments()
    counter = instruments.counter("things_total", "Things.", ("kind",))
    instruments.counter("others_total", "Others.", ("kind",))
    instruments.histogram("waits_seconds", "Waits.", bounds=BOUNDS).observe(1.5)
    counter.add(("b",), 2)
    counter.add(("a",))

    things, waits = documents(instruments.read())
    assert things == {
        "name": "things_total",
        "type": "counter",
        "description": "Things.",
        "samples": [
            {"labels": {"kind": "a"}, "value": 1},
            {"labels": {"kind": "b"}, "value": 2},
        ],
    }
    (sample,) = waits["samples"]
    assert (sample["count"], sample["sum"], sample["p50"]) == (1, 1.5, 1.5)


def test_changes_hold_the_series_that_changed_and_no_others() -> None:
    instruments = Instruments()
    counter = instruments.counter("things_total", "Things.", ("kind",))
    gauge = instruments.gauge("level", "Level.")
    counter.add(("a",))
    before = instruments.read()
    counter.add(("b",))
    gauge.set(3)

    assert changes(before, instruments.read()) == [
        {"name": "level", "samples": [{"labels": {}, "value": 3}]},
        {"name": "things_total", "samples": [{"labels": {"kind": "b"}, "value": 1}]},
    ]


def test_readings_do_not_change_with_what_is_counted_later() -> None:
    instruments = Instruments()
    waits = instruments.histogram("waits_seconds", "Waits.", bounds=BOUNDS)
    waits.observe(1)
    before = instruments.read()
    waits.observe(1)

    assert changes(before, instruments.read()) != []


def test_a_series_that_is_gone_asks_for_the_whole() -> None:
    instruments = Instruments()
    counter = instruments.counter("things_total", "Things.", ("kind",))
    counter.add(("a",))
    before = instruments.read()
    counter.keep(lambda _: False)

    assert changes(before, instruments.read()) is None
