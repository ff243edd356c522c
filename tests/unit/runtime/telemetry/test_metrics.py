import secrets

from prometheus_client.parser import text_string_to_metric_families

from bulkhead_runtime.telemetry.metrics import Gauges, Metrics

HOSTILE = 10_000
AT_REST = 300


def _metrics() -> Metrics:
    return Metrics(lambda: Gauges(active=0, queued=0, sessions=0, pool_bytes=0, versions={}))


def _series(metrics: Metrics) -> int:
    families = text_string_to_metric_families(metrics.render().decode())
    return sum(len(family.samples) for family in families)


def test_a_runtime_at_rest_has_few_series() -> None:
    assert _series(_metrics()) < AT_REST


def test_ten_thousand_hostile_names_of_tools_models_and_rules_cannot_flood_prometheus() -> None:
    metrics = _metrics()
    for _ in range(HOSTILE):
        name = secrets.token_hex(8) + '"\n\\{}'
        metrics.tools.called(name, "ok", 0.1)
        metrics.tools.denied(name, name)
        metrics.models.called("openai", name, "ok", 0.1)
    first = _series(metrics)
    for _ in range(HOSTILE):
        metrics.tools.called(secrets.token_hex(200), "ok", 0.1)

    assert _series(metrics) <= first + 12
    assert first < 64 * 12 + 64 * 3 + 65 + 65 + AT_REST


def test_a_name_that_came_early_keeps_its_own_series() -> None:
    metrics = _metrics()
    metrics.tools.called("calculate", "ok", 0.1)
    for number in range(HOSTILE):
        metrics.tools.called(f"tool-{number}", "ok", 0.1)
    metrics.tools.called("calculate", "ok", 0.1)

    assert 'bulkhead_tool_calls_total{outcome="ok",tool="calculate"} 2.0' in (
        metrics.render().decode()
    )
