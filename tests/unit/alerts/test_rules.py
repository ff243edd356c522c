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
    """Return the groups with the rules that an alert needs: its own and what they read."""
    wanted = {alert}
    while True:
        found = [
            {**group, "rules": [rule for rule in group["rules"] if _made(rule) in wanted]}
            for group in GROUPS
        ]
        read = {
            name
            for group in found
            for rule in group["rules"]
            for name in RECORDED.findall(rule["expr"])
        }
        if read <= wanted:
            return [group for group in found if group["rules"]]
        wanted |= read


def _made(rule: dict[str, Any]) -> str:
    name: str = rule.get("alert") or rule["record"]
    return name


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


def test_an_organization_of_which_nothing_fails_has_a_share_of_zero(tmp_path: Path) -> None:
    share = "organization:bulkhead_failed_answers:ratio1h"
    sample = {"labels": f'{share}{{organization="acme"}}', "value": 0}
    look = {"expr": share, "eval_time": "90m", "exp_samples": [sample]}
    completed = cases_objectives.executions("completed")
    series = [{"series": completed, "values": "0+100x120"}]
    story = {"interval": "1m", "input_series": series, "promql_expr_test": [look]}
    promtool.test(tmp_path, {"groups": needed(cases_objectives.AVAILABILITY)}, story)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_seen_firing_with_each_severity_and_silent(name: str) -> None:
    of_it = [case for case in CASES if case.alert == name]
    seen = {one.severity for case in of_it for one in case.firing}
    assert seen == {rule["labels"]["severity"] for rule in ALERTS if rule["alert"] == name}
    assert any(not case.firing for case in of_it)
