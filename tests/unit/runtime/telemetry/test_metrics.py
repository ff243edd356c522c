"""What a scrape shows of a runtime, and that nobody's names can flood it."""

import secrets

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from bulkhead_runtime.telemetry.exposition import render
from bulkhead_runtime.telemetry.instruments import MAX_SERIES, Instruments
from bulkhead_runtime.telemetry.metrics import Metrics
from bulkhead_runtime.telemetry.standing import Standing
from tests.support.metric_values import value_of

HOSTILE = 10_000
PLAIN, OPEN = "text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def _text(metrics: Metrics, accept: str = PLAIN) -> str:
    return render(metrics.read(Standing()), accept)[0].decode()


def _series(metrics: Metrics) -> int:
    return sum(len(family.samples) for family in text_string_to_metric_families(_text(metrics)))


def _hostile() -> str:
    return secrets.token_hex(8) + '"\n\\{}'


def test_ten_thousand_hostile_names_cannot_flood_prometheus() -> None:
    metrics = Metrics()
    for _ in range(HOSTILE):
        name = _hostile()
        metrics.tools.called(name, "ok", 0.1)
        metrics.tools.denied(name, name)
        metrics.models.called(f"{name}/{name}", "ok", 0.1)
        metrics.models.used(f"{name}/{name}", (1, 1), None)
        metrics.executions.ended(name, name, name, "completed")
        metrics.executions.failed(name, name)
        metrics.executions.took(name, 1)
        metrics.executions.spent(name, (1, 1), 0.1)
    first = _series(metrics)
    for _ in range(HOSTILE):
        metrics.tools.called(secrets.token_hex(200), "ok", 0.1)
        metrics.executions.ended("a", secrets.token_hex(8), "1", "completed")

    assert first < 12 * MAX_SERIES
    assert _series(metrics) <= first + 12


def test_what_comes_after_the_most_series_is_counted_together() -> None:
    instruments = Instruments()
    counter = instruments.counter("things_total", "Things.", ("name",))
    for number in range(MAX_SERIES + 50):
        counter.add((f"thing-{number}",))
    counter.add(("thing-0",))

    assert len(counter.read().series) == MAX_SERIES + 1
    assert value_of(instruments, "things_total", name="other") == 50
    assert value_of(instruments, "things_total", name="thing-0") == 2


def test_a_name_that_came_early_keeps_its_own_series() -> None:
    metrics = Metrics()
    metrics.tools.called("calculate", "ok", 0.1)
    for number in range(HOSTILE):
        metrics.tools.called(f"tool-{number}", "ok", 0.1)
    metrics.tools.called("calculate", "ok", 0.1)

    assert 'bulkhead_tool_calls_total{outcome="ok",tool="calculate"} 2.0' in _text(metrics)


def test_an_agent_that_left_takes_its_series_and_makes_room_for_another() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.executions.ended(f"agent-{number}", "pack", "1", "completed")
        metrics.executions.took(f"agent-{number}", 1)
        metrics.executions.spent(f"agent-{number}", (1, 1), 1)
    metrics.keep({("pack", "1")}, {"agent-0"})
    metrics.executions.ended("new", "pack", "1", "completed")

    text = _text(metrics)
    assert 'agent="agent-0"' in text
    assert 'agent="new"' in text
    assert 'agent="agent-1"' not in text


def test_a_version_that_left_takes_its_series() -> None:
    metrics = Metrics()
    metrics.executions.ended("a", "pack", "1", "completed")
    metrics.executions.ended("a", "pack", "2", "completed")
    metrics.executions.ended("a", "", "", "completed")
    metrics.keep({("pack", "2")}, {"a"})

    text = _text(metrics)
    assert 'version="2"' in text
    assert 'version=""' in text
    assert 'version="1"' not in text


def test_a_histogram_is_exposed_cumulatively_as_prometheus_wants_it() -> None:
    metrics = Metrics()
    for seconds in (0.1, 0.1, 3, 10_000):
        metrics.executions.took("a", seconds)

    text = _text(metrics)
    name = "bulkhead_execution_duration_seconds"
    assert f'{name}_bucket{{agent="a",le="0.1"}} 2.0' in text
    assert f'{name}_bucket{{agent="a",le="5.0"}} 3.0' in text
    assert f'{name}_bucket{{agent="a",le="+Inf"}} 4.0' in text
    assert f'{name}_sum{{agent="a"}} 10003.2' in text
    assert f'{name}_count{{agent="a"}} 4.0' in text


def test_openmetrics_has_an_exemplar_where_a_trace_is_recorded() -> None:
    metrics = Metrics(Instruments(lambda: TRACE))
    metrics.executions.took("a", 0.3)

    samples = [
        sample
        for family in openmetrics(_text(metrics, OPEN))  # type: ignore[no-untyped-call]  # theirs
        for sample in family.samples
        if sample.exemplar
    ]
    assert [sample.labels["le"] for sample in samples] == ["0.5"]
    assert samples[0].exemplar.labels == {"trace_id": TRACE}
    assert samples[0].exemplar.value == 0.3
    assert TRACE not in _text(metrics)


def test_without_a_recorded_trace_no_exemplar_leads_nowhere() -> None:
    metrics = Metrics(Instruments(lambda: None))
    metrics.executions.took("a", 0.3)

    assert "# {" not in _text(metrics, OPEN)
