"""What is generated says the same as its source, and names only what exists."""

import json
import re
from typing import Any

import pytest
import yaml

from bulkhead_runtime.telemetry.execution_metrics import FIRST_TOKEN_BOUNDS
from dashboards.alerts import __main__ as written
from dashboards.alerts.page import page
from dashboards.alerts.rules import TOKEN, alerts, chart_template, groups, recordings, rule_file
from dashboards.alerts.thresholds import THRESHOLDS
from tests.support.chart import CHART, FULL_VALUES, HelmError, Rendered, render
from tests.support.pages import REFERENCE

MOST_ALERTS = 15
ENABLED = {"metrics": {"prometheusRule": {"enabled": True}}}
EXPRESSIONS = {
    **{alert.name: alert.expr for alert in alerts()},
    **{recording.record: recording.expr for recording in recordings()},
}
_ROW = re.compile(r"^\| `([^`]+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
_METRIC = re.compile(r"\b(?:bulkhead|controller_runtime|gen_ai|process|workqueue)_\w+")
_SELECTED = re.compile(r"([a-z_]+)\{([^}]*)\}")
_GROUPED = re.compile(r"\b(?:by|on) \(([^)]*)\)")
_OF_A_HISTOGRAM = ("_bucket", "_count", "_sum")
_OF_THE_SCRAPE = {"organization"}
_ADDED = {"storage"}


def documented() -> dict[str, set[str]]:
    """Return every metric of runtimes and operator with its labels."""
    found: dict[str, set[str]] = {}
    for name in ("runtime-metrics.md", "operator-metrics.md"):
        for metric, kind, labels in _ROW.findall((REFERENCE / name).read_text()):
            told = set(re.findall(r"`(\w+)`", labels)) | _OF_THE_SCRAPE
            names = [metric]
            if kind == "histogram":
                names = [metric + suffix for suffix in _OF_A_HISTOGRAM]
                told = told | {"le"}
            for each in names:
                found[each] = found.get(each, set()) | told
    return found


def rules_of(rendered: Rendered) -> list[dict[str, Any]]:
    """Return the groups of the chart's PrometheusRule."""
    found: list[dict[str, Any]] = rendered.one("PrometheusRule", "bulkhead")["spec"]["groups"]
    return found


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_a_rule_reads_only_metrics_and_labels_that_exist(name: str) -> None:
    known = documented()
    expr = re.sub(r"organization:[\w:]+", "", EXPRESSIONS[name])
    metrics = set(_METRIC.findall(re.sub(r'"[^"]*"', "", expr)))
    assert metrics <= known.keys()
    for metric, selectors in _SELECTED.findall(expr):
        assert set(re.findall(r"(\w+)[!=]", selectors)) <= known[metric]
    grouped = {label.strip() for labels in _GROUPED.findall(expr) for label in labels.split(",")}
    assert grouped <= set().union(_OF_THE_SCRAPE, _ADDED, *(known[metric] for metric in metrics))


def test_a_rule_reads_only_what_is_recorded() -> None:
    made = {recording.record for recording in recordings()}
    read = {
        one for expr in EXPRESSIONS.values() for one in re.findall(r"organization:[\w:]+", expr)
    }
    assert read <= made
    assert "organization:bulkhead_answers:rate5m" in read


def test_there_are_not_more_alerts_than_a_person_can_know() -> None:
    assert len({alert.name for alert in alerts()}) <= MOST_ALERTS


def test_every_threshold_is_used_and_no_other_is_named() -> None:
    texts = [*EXPRESSIONS.values(), *(alert.summary for alert in alerts())]
    used = {token for text in texts for token in TOKEN.findall(text)}
    assert used == {threshold.name for threshold in THRESHOLDS}


def test_a_first_token_can_be_in_time_only_at_a_bound_of_the_histogram() -> None:
    (threshold,) = [each for each in THRESHOLDS if each.name == "firstTokenSeconds"]
    assert set(threshold.choices) <= set(FIRST_TOKEN_BOUNDS)


def test_the_written_files_are_those_of_the_sources() -> None:
    assert written.RULE_FILE.read_text() == rule_file()
    assert written.CHART_TEMPLATE.read_text() == chart_template()
    assert written.PAGE.read_text() == page()


def test_the_chart_has_no_rules_unless_it_is_told_to() -> None:
    assert render().of("PrometheusRule") == []


def test_the_charts_rules_are_those_of_the_rule_file() -> None:
    plain = yaml.safe_load(written.RULE_FILE.read_text())
    assert rules_of(render(ENABLED)) == plain["groups"]
    assert [group["name"] for group in plain["groups"]] == [group.name for group in groups()]


def test_the_charts_values_reach_its_rules() -> None:
    values = yaml.safe_load(FULL_VALUES.read_text())["metrics"]["prometheusRule"]
    rendered = render({"metrics": {"prometheusRule": values | {"enabled": True}}})
    labels = rendered.one("PrometheusRule", "bulkhead")["metadata"]["labels"]
    assert labels["release"] == "prometheus"
    rules = [rule for group in rules_of(rendered) for rule in group["rules"]]
    by_name = {rule.get("alert") or rule["record"]: rule for rule in rules}
    queue = by_name["BulkheadQueueAgeing"]
    assert queue["expr"].endswith("> 10")
    base = "https://runbooks.example.com/bulkhead"
    assert queue["annotations"]["runbook_url"] == f"{base}/BulkheadQueueAgeing.md"
    assert "99.9 % must not" in by_name["BulkheadAvailabilityBurning"]["annotations"]["summary"]
    late = by_name["organization:bulkhead_late_first_tokens:rate5m"]
    assert 'le=~"2([.]0)?"' in late["expr"]


def test_the_chart_bounds_each_threshold_as_its_source_does() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    described = schema["properties"]["metrics"]["properties"]["prometheusRule"]["properties"]
    bounds = described["thresholds"]["properties"]
    assert bounds.keys() == {threshold.name for threshold in THRESHOLDS}
    for threshold in THRESHOLDS:
        told = bounds[threshold.name]
        assert told["description"] == threshold.text
        assert defaults["metrics"]["prometheusRule"]["thresholds"][threshold.name] == (
            threshold.default
        )
        if threshold.choices:
            assert told["enum"] == list(threshold.choices)
        else:
            assert (told["minimum"], told["maximum"]) == (threshold.minimum, threshold.maximum)


REFUSED: dict[str, dict[str, Any]] = {
    "an objective that no outage would burn fast enough": {"availabilityPercent": 90},
    "an objective without anything that may fail": {"availabilityPercent": 100},
    "a time that is no bound of the histogram": {"firstTokenSeconds": 3},
    "a threshold that there is not": {"queueAgeMinutes": 1},
    "a number in quotes": {"budgetPercent": "90"},
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_chart_refuses(case: str) -> None:
    values = {"metrics": {"prometheusRule": {"enabled": True, "thresholds": REFUSED[case]}}}
    with pytest.raises(HelmError, match=next(iter(REFUSED[case]))):
        render(values)
