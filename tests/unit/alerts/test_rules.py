"""Every alert fires when it must and is silent otherwise, as Prometheus' own judge evaluates it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.alerts.__main__ import RULE_FILE
from tests.support import promtool
from tests.unit.alerts import (
    cases_objectives,
    cases_organizations,
    cases_platform,
    cases_work,
)
from tests.unit.alerts.cases import Case, filled

CASES = (
    *cases_objectives.CASES,
    *cases_organizations.CASES,
    *cases_work.CASES,
    *cases_platform.CASES,
)
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULE_FILE.read_text())["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})
RECORDED = re.compile(r"organization:[\w:]+")


def needed(alert: str) -> list[dict[str, Any]]:
    """Return the groups that an alert needs: its own and those that record what it reads."""
    wanted = {alert}
    while True:
        found = [group for group in GROUPS if _makes(group) & wanted]
        read = {name for group in found for rule in group["rules"] for name in _reads(rule)}
        if read <= wanted:
            return found
        wanted |= read


def _makes(group: dict[str, Any]) -> set[str]:
    return {rule.get("alert") or rule["record"] for rule in group["rules"]}


def _reads(rule: dict[str, Any]) -> set[str]:
    return set(RECORDED.findall(rule["expr"]))


def expected(case: Case) -> list[dict[str, Any]]:
    """Return what promtool is told to expect."""
    rules = {
        rule["labels"]["severity"]: rule["annotations"]
        for rule in ALERTS
        if rule["alert"] == case.alert
    }
    return [
        {
            "exp_labels": {"severity": one.severity, **one.labels},
            "exp_annotations": {
                "summary": one.summary,
                "description": filled(rules[one.severity]["description"], one.labels),
                "runbook_url": f"docs/runbooks/{case.alert}.md",
            },
        }
        for one in case.firing
    ]


def test_prometheus_takes_the_rule_file_without_a_complaint() -> None:
    assert "SUCCESS" in promtool.check(RULE_FILE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_alert_fires_when_it_must_and_is_silent_otherwise(case: Case, tmp_path: Path) -> None:
    look = {
        "eval_time": f"{case.at}m",
        "alertname": case.alert,
        "exp_alerts": expected(case),
    }
    series = [{"series": name, "values": samples} for name, samples in case.series.items()]
    story = {"interval": "1m", "input_series": series, "alert_rule_test": [look]}
    promtool.test(tmp_path, {"groups": needed(case.alert)}, story)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_seen_firing_with_each_severity_and_silent(name: str) -> None:
    of_it = [case for case in CASES if case.alert == name]
    seen = {one.severity for case in of_it for one in case.firing}
    assert seen == {rule["labels"]["severity"] for rule in ALERTS if rule["alert"] == name}
    assert any(not case.firing for case in of_it)
