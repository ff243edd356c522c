"""Alerts and runbooks are the same ones, and what a runbook tells a person to type can be typed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bulkhead_api.crd import KINDS
from bulkhead_api.v1alpha1 import OrganizationRuntimeSpec
from dashboards.alerts.rules import alerts
from tests.support import promtool
from tests.support.pages import ROOT, blocks, ticked
from tests.unit.alerts.test_sources import documented

NAMES = sorted({alert.name for alert in alerts()})
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
PAGES = [*RUNBOOKS, ROOT / "docs" / "observability.md"]
PARTS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
PATCHES = [
    (page.stem, json.loads(patch))
    for page in PAGES
    for patch in re.findall(r"patch orgrt acme --type=merge -p '([^']+)'", page.read_text())
]
OF_THE_CLUSTER = {"pods", "events", "lease", "deploy", "crd"}
_PROGRAMS = ("kubectl ", "curl ", "helm ")
_METRIC = re.compile(r"\b(?:bulkhead|controller_runtime|gen_ai|process|rest_client|workqueue)_\w+")
_OBJECT = re.compile(
    r"kubectl (?:-n \S+ )?(?:get|describe|patch|annotate|rollout restart) ([a-z]+)[ /]?"
)
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def typed(page: Path) -> Iterator[str]:
    """Yield everything that a page tells a person to type: its blocks, one by one."""
    for block in blocks(page):
        yield from (one.strip("\n") for one in re.split(r"\n\s*\n", block) if one.strip())


def queries(page: Path) -> list[str]:
    """Return the queries of a page: its blocks that are no commands, and those of its tables."""
    found = [one for one in typed(page) if not one.startswith(_PROGRAMS)]
    return found + [one for one in ticked(page) if "bulkhead_" in one and re.search(r"[({]", one)]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert [page.stem for page in RUNBOOKS] == NAMES


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbook_says_what_it_means_what_it_costs_why_and_what_to_do(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == PARTS
    assert all(re.search(rf"^## {part}\n\n\S", text, re.MULTILINE) for part in PARTS)


@EVERY_PAGE
def test_prometheus_reads_every_query(page: Path, tmp_path: Path) -> None:
    found = queries(page)
    rules = [{"record": f"q{number}", "expr": expr} for number, expr in enumerate(found)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": page.stem, "rules": rules}]}))
    assert f"{len(found)} rules found" in promtool.check(file)


@EVERY_PAGE
def test_a_query_reads_only_metrics_and_labels_that_exist(page: Path) -> None:
    known = documented()
    for query in queries(page):
        expr = re.sub(r"organization:[\w:]+", "", query)
        metrics = _METRIC.findall(re.sub(r'"[^"]*"', "", expr))
        assert set(metrics) <= known.keys(), query
        labels = set().union({"pod"}, *(known[metric] for metric in metrics))
        for selectors in re.findall(r"\{([^}]*)\}", expr):
            assert set(re.findall(r"(\w+)[!=]", selectors)) <= labels, query
        for grouped in re.findall(r"\bby \(([^)]*)\)", expr):
            assert {one.strip() for one in grouped.split(",")} <= labels, query


@EVERY_PAGE
def test_a_command_of_kubectl_names_kinds_that_there_are(page: Path) -> None:
    ours = {name for kind in KINDS for name in (kind.short_name, kind.singular, kind.plural)}
    assert set(_OBJECT.findall(page.read_text())) <= ours | OF_THE_CLUSTER


@pytest.mark.parametrize(("page", "patch"), PATCHES, ids=[page for page, _ in PATCHES])
def test_a_patch_that_a_page_gives_is_taken(page: str, patch: dict[str, Any]) -> None:
    assert OrganizationRuntimeSpec.model_validate(patch["spec"]).model_fields_set
