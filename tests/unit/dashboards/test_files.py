"""The files are what the code says, the SDK knows their fields, Prometheus reads their queries."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as models

from dashboards.grafana.__main__ import main
from tests.support import dashboards, promtool
from tests.support.dashboards import FILES, every_query, filled

EVERY_DASHBOARD = pytest.mark.parametrize("file", FILES, ids=dashboards.name)
NAMES = {"fleet", "organization", "package-rollout", "memory", "models-and-cost", "operator"}


def test_there_is_a_file_for_each_dashboard_as_the_code_writes_it(tmp_path: Path) -> None:
    (tmp_path / "gone.json").write_text("{}")
    main(tmp_path)
    written = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert written == {file.name: file.read_text() for file in FILES}
    assert {file.stem for file in FILES} == NAMES


@EVERY_DASHBOARD
def test_a_dashboard_is_the_classic_kind_that_provisioning_takes(file: Path) -> None:
    dashboard = dashboards.load(file)
    assert "apiVersion" not in dashboard
    assert dashboard["schemaVersion"] >= 36
    assert dashboard["uid"] == f"bulkhead-{file.stem}"
    assert len(dashboard["uid"]) <= 40


@EVERY_DASHBOARD
def test_the_sdk_reads_a_dashboard_and_finds_nothing_that_it_does_not_know(file: Path) -> None:
    register_default_plugins()
    dashboard = dashboards.load(file)
    read = models.Dashboard.from_json(dashboards.load(file))
    again: dict[str, Any] = json.loads(json.dumps(read, cls=JSONEncoder))
    for link in (*again["links"], *dashboard["links"]):
        # The SDK writes where a link is shown but does not read it.
        del link["placement"]
    assert again == dashboard


def test_prometheus_reads_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": filled(query.expression, window="2m", span="3h")}
        for number, query in enumerate(every_query())
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool.check(file)


@EVERY_DASHBOARD
def test_a_dashboard_fits_into_a_config_map(file: Path) -> None:
    assert file.stat().st_size < 512 * 1024
