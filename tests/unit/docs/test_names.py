"""Every field, value, path, metric, event, code and verb that the documentation names exists."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from bulkhead_api.crd import KINDS, definition
from tests.support.pages import PAGES, REFERENCE, ROOT, WRITTEN, name, ticked

EVERY_WRITTEN_PAGE = pytest.mark.parametrize("page", WRITTEN, ids=name)
_ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
_FIELD = re.compile(r"(?:spec|status)(?:\.[a-zA-Z]+(?:\[\])?)+")
_PATH = re.compile(r"(?:/v1|/health|/readiness|/metrics)(?:/[\w{}.-]+)*")
_EXPLAINED = re.compile(r"kubectl explain ([a-z]+)((?:\.\w+)*)")
_VERB = re.compile(r"(?:^ {4}|`|\()make ([a-z-]+)", re.MULTILINE)
_METRIC = re.compile(r"(?:bulkhead|controller_runtime|workqueue|rest_client|gen_ai)_[a-z_]+")
_ELSEWHERE = {"bulkhead_api", "bulkhead_operator", "bulkhead_runtime", "bulkhead_hooli"}
"""Packages and a role, whose names begin as those of metrics do."""


@cache
def listed(page: str) -> frozenset[str]:
    """Return the first column of a generated page."""
    return frozenset(_ROW.findall((REFERENCE / page).read_text()))


@cache
def schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of each kind by each name that kubectl takes for it."""
    found = {}
    for kind in KINDS:
        (version,) = definition(kind)["spec"]["versions"]
        for called in (kind.singular, kind.plural, kind.short_name):
            found[called] = version["schema"]["openAPIV3Schema"]
    return found


def has(schema: dict[str, Any], path: str) -> bool:
    """Tell whether a schema has a field at a dotted path."""
    for part in path.replace("[]", "").strip(".").split("."):
        schema = schema.get("items", schema)
        if part not in schema.get("properties", {}):
            return False
        schema = schema["properties"][part]
    return True


@EVERY_WRITTEN_PAGE
def test_every_field_that_is_named_exists(page: Path) -> None:
    named = {one for one in ticked(page) if _FIELD.fullmatch(one)}
    unknown = {one for one in named if not any(has(s, one) for s in schemas().values())}
    assert unknown == set()


@EVERY_WRITTEN_PAGE
def test_every_path_that_is_explained_exists(page: Path) -> None:
    for kind, path in _EXPLAINED.findall(page.read_text()):
        assert kind in schemas()
        assert not path or has(schemas()[kind], path)


@EVERY_WRITTEN_PAGE
def test_every_value_of_the_chart_that_is_named_exists(page: Path) -> None:
    values = yaml.safe_load((ROOT / "charts" / "bulkhead" / "values.yaml").read_text())
    known = listed("chart.md")
    named = {
        one
        for one in ticked(page)
        if re.fullmatch(r"[a-zA-Z]+(?:\.[a-zA-Z]+)+", one) and one.partition(".")[0] in values
    }
    unknown = {n for n in named if not any(f"{k}.".startswith(f"{n}.") for k in known)}
    assert unknown == set()


@EVERY_WRITTEN_PAGE
def test_every_path_of_the_api_that_is_named_exists(page: Path) -> None:
    described = json.loads((REFERENCE / "openapi.json").read_text())["paths"]
    patterns = [re.compile(re.sub(r"\{\w+\}", r"[^/]+", path)) for path in described]
    # What images of packages serve is under a prefix of its own.
    text = re.sub(r"https?://\S+|/bulkhead/v1/\w+", "", page.read_text().replace("$URL", ""))
    named = {path.rstrip(".") for path in _PATH.findall(text)} - {"/v1"}
    assert {path for path in named if not any(p.fullmatch(path) for p in patterns)} == set()


@EVERY_WRITTEN_PAGE
def test_every_metric_that_is_named_exists(page: Path) -> None:
    known = listed("operator-metrics.md") | listed("runtime-metrics.md")
    named = {one for one in ticked(page) if _METRIC.fullmatch(one)} - _ELSEWHERE
    assert named - known == set()


@EVERY_WRITTEN_PAGE
def test_every_event_that_is_named_exists(page: Path) -> None:
    subjects = {known.partition(".")[0] for known in listed("events.md")}
    named = {
        one
        for one in ticked(page)
        if re.fullmatch(r"[a-z]+\.[a-z_]+", one) and one.partition(".")[0] in subjects
    }
    assert named - listed("events.md") == set()


@EVERY_WRITTEN_PAGE
def test_every_error_code_of_a_table_exists(page: Path) -> None:
    for table in re.findall(r"^\| code \|.*\n(?:\|.*\n)+", page.read_text(), re.MULTILINE):
        rows = [row.split("|")[1] for row in table.splitlines()[2:]]
        named = {code for row in rows for code in re.findall(r"`([^`]+)`", row)}
        assert named
        assert named - listed("errors.md") == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_verb_of_make_that_is_named_exists(page: Path) -> None:
    verbs = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(_VERB.findall(page.read_text())) - verbs == set()


def test_every_table_of_the_stores_is_told_how_long_it_is_kept() -> None:
    store = ROOT / "runtime_image" / "bulkhead_runtime" / "store"
    sources = "\n".join(one.read_text() for end in ("py", "sql") for one in store.rglob(f"*.{end}"))
    made = set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(?:bulkhead\.)?(\w+)", sources))
    assert {"sessions", "migrations"} < made
    assert made - ticked(ROOT / "docs" / "platform" / "records.md") == set()
