import json
from typing import Any

import pytest

from tests.support.chart import CHART, HelmError, render

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt value": ({"operator": {"replica": 1}}, "replica"),
    "a misspelt section": ({"operater": {}}, "operater"),
    "no replica at all": ({"operator": {"replicas": 0}}, "/operator/replicas"),
    "a replica count in quotes": ({"operator": {"replicas": "2"}}, "/operator/replicas"),
    "an unknown log level": ({"operator": {"logLevel": "LOUD"}}, "/operator/logLevel"),
    "a digest that is none": ({"runtime": {"image": {"digest": "sha256:1"}}}, "digest"),
    "a tag with a slash": ({"runtime": {"image": {"tag": "a/b"}}}, "tag"),
    "an image without a name": ({"operator": {"image": {"repository": ""}}}, "repository"),
    "an unknown pull policy": ({"runtime": {"image": {"pullPolicy": "Often"}}}, "pullPolicy"),
    "a drain of an hour": ({"runtime": {"drainSeconds": 3600}}, "drainSeconds"),
    "an address without a scheme": ({"runtime": {"urlTemplate": "runtime"}}, "urlTemplate"),
    "a gateway that is everybody": ({"network": {"gateways": [{}]}}, "/network/gateways/0"),
    "a scraper that is everybody": (
        {"network": {"scrapers": [{"podLabels": {}}]}},
        "/network/scrapers/0",
    ),
    "an address instead of a range": ({"network": {"deniedCIDRs": ["10.0.0.1"]}}, "deniedCIDRs"),
    "a resync every second": ({"reconcile": {"resyncSeconds": 1}}, "resyncSeconds"),
    "no worker": ({"operator": {"workers": 0}}, "workers"),
    "a lease of a second": (
        {"leaderElection": {"leaseDurationSeconds": 1}},
        "leaseDurationSeconds",
    ),
    "a switch in quotes": ({"crds": {"keep": "false"}}, "/crds/keep"),
    "a label that is none": ({"commonLabels": {"a": "not a label"}}, "/commonLabels/a"),
    "an interval without a unit": (
        {"metrics": {"serviceMonitor": {"interval": "30"}}},
        "interval",
    ),
    "migrations without the owner's Secret": (
        {"postgres": {"migrations": {"enabled": True}}},
        "/postgres/migrations/ownerSecret/name",
    ),
    "a DSN in the values": ({"postgres": {"migrations": {"dsn": "postgresql://"}}}, "dsn"),
    "a port beyond the last": (
        {"networkPolicy": {"apiServer": {"ports": [70000]}}},
        "/networkPolicy/apiServer/ports/0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_value_is_refused_by_name(case: str) -> None:
    values, named = REFUSED[case]
    with pytest.raises(HelmError, match=named):
        render(values)


def test_every_value_is_described() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert list(_undescribed(schema, "")) == []


def _undescribed(schema: dict[str, Any], path: str) -> list[str]:
    missing = []
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        if "description" not in child:
            missing.append(here)
        missing += _undescribed(child, here)
    return missing
