"""Every metric and label that a query reads exists, and every metric is shown or said why not."""

import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.support import dashboards
from tests.support.dashboards import every_query, family, selectors
from tests.support.pages import REFERENCE

EVERY_QUERY = pytest.mark.parametrize("query", every_query(), ids=str)
ALERTS = Path(__file__).parents[3] / "dashboards" / "alerts" / "bulkhead.rules.yaml"
_ROW = re.compile(r"^\| `([^`]+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
_METRIC = re.compile(r"\b(?:bulkhead|controller_runtime|workqueue|rest_client|gen_ai|process)_\w+")
_BY_SCRAPER: Final = {"job", "instance", "organization"}

UNSHOWN: Final = {
    "process_virtual_memory_bytes": "says nothing about need: address space is reserved freely",
}
"""Metrics that no panel and no alert reads, each with the reason."""


@cache
def documented() -> dict[str, frozenset[str]]:
    """Return the labels of every metric that operator or runtime has."""
    found: dict[str, frozenset[str]] = {}
    for page in ("operator-metrics.md", "runtime-metrics.md"):
        for name, kind, labels in _ROW.findall((REFERENCE / page).read_text()):
            own = set(re.findall(r"`([^`]+)`", labels)) | ({"le"} if kind == "histogram" else set())
            found[name] = found.get(name, frozenset()) | own
    return found


def of_counter_or_histogram(metric: str) -> str:
    """Return the name under which a metric is documented."""
    return metric if metric in documented() else family(metric)


@EVERY_QUERY
def test_every_metric_that_is_read_exists(query: dashboards.Query) -> None:
    read = {of_counter_or_histogram(metric) for metric, _ in selectors(query.expression)}
    assert read - documented().keys() - {"up"} == set()


@EVERY_QUERY
def test_every_label_that_is_asked_for_exists(query: dashboards.Query) -> None:
    read = selectors(query.expression)
    known = {
        label
        for metric, _ in read
        for label in documented().get(of_counter_or_histogram(metric), ())
    }
    grouped = {
        label.strip()
        for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", query.expression)
        for label in labels.split(",")
    }
    assert grouped - known - _BY_SCRAPER == set()
    for metric, matchers in read:
        matched = set(re.findall(r'(\w+)(?:=~|!~|!=|=)"', matchers))
        own = documented().get(of_counter_or_histogram(metric), frozenset())
        assert matched - own - _BY_SCRAPER == set()


def test_every_metric_is_shown_or_left_out_for_a_reason() -> None:
    shown = {family(m) for query in every_query() for m, _ in selectors(query.expression)}
    shown |= {m for query in every_query() for m, _ in selectors(query.expression)}
    if ALERTS.exists():
        rules = yaml.safe_load(ALERTS.read_text())["groups"]
        alerts = " ".join(rule["expr"] for group in rules for rule in group["rules"])
        shown |= {family(one) for one in _METRIC.findall(alerts)} | set(_METRIC.findall(alerts))
    assert documented().keys() - shown == UNSHOWN.keys()
    assert all(UNSHOWN.values())
