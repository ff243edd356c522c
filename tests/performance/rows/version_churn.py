"""Upgrades and rollbacks, one after the other, under requests and long streams."""

import json
from pathlib import Path

from bulkhead_api.names import ANNOTATION_ROLLBACK_TO, default_namespace
from tests.cluster.kubectl import Kubectl
from tests.performance.harness.programs import Background
from tests.performance.harness.results import OURS, Bar, plain
from tests.performance.harness.rounds import Round
from tests.performance.rows import stub_in_cluster
from tests.performance.rows.local_cluster import (
    connect,
    key_file,
    organization,
    package,
    served,
    service_url,
    unique,
)

_UPGRADES = 20
_REQUESTS_PER_SECOND, _STREAMS = 100, 50
_LIMITS = {"rateLimitPerMinute": 1000000, "maxConcurrentAgents": 500, "maxQueueSize": 1000}
_AGAINST = f"{_UPGRADES} upgrades and as many rollbacks, 100 requests/s, {_STREAMS} streams"

BARS = (
    Bar("churn-requests", "failed requests through upgrades and rollbacks", _AGAINST, 0, "lower",
        plain("failed"), summary="worst"),
    Bar("churn-streams", "cut streams through upgrades and rollbacks", _AGAINST, 0, "lower",
        plain("cut"), summary="worst"),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Deliver a version and go back again, over and over, while tenants talk."""
    kubectl = connect()
    rounds = []
    for _ in range(count):
        with stub_in_cluster.provider(kubectl) as provider:
            manifest = organization(
                unique("bench-churn"),
                limits=_LIMITS,
                models={"providers": [provider.as_spec()]},
                network={"egress": [provider.as_egress()]},
                storage={"sizeMB": 2048},
            )
            with served(kubectl, manifest) as name:
                rounds.append(Round({OURS: _churned(kubectl, name, directory)}))
    return rounds


def _churned(kubectl: Kubectl, name: str, directory: Path) -> dict[str, float]:
    _deliver(kubectl, name, "1.0.1")
    url = service_url(kubectl, default_namespace(name))
    with Background(
        "load",
        "rolling",
        *("-url", f"{url}/v1/agents/assistant/execute"),
        *("-key", key_file(kubectl, name, directory / "key")),
        *("-streams-url", f"{url}/v1/chat/completions", "-model", "narrator"),
        *("-chunks", str(stub_in_cluster.CHUNKS), "-connections", str(_STREAMS)),
        *("-rate", str(_REQUESTS_PER_SECOND)),
    ) as load:
        for number in range(2, _UPGRADES + 2):
            _deliver(kubectl, name, f"1.0.{number}")
            _go_back(kubectl, name, f"1.0.{number - 1}")
        report = load.finish()
    for example in report["examples"]:
        print(f"    {example}")
    return {
        "requests": report["requests"],
        "streams": report["streams"],
        "failed": report["failed_new"] + report["failed_kept"],
        "cut": report["failed_streams"],
        "p99_ms": report["p99_ms"],
    }


def _deliver(kubectl: Kubectl, name: str, version: str) -> None:
    manifest = package(name, version)
    narrator = {"name": "narrator", "model": stub_in_cluster.LONG_STREAM}
    manifest["spec"]["agents"].append(narrator)
    kubectl.run("apply", "--filename=-", stdin=json.dumps(manifest))
    _in_service(kubectl, name, version)


def _go_back(kubectl: Kubectl, name: str, version: str) -> None:
    where = f"--namespace={default_namespace(name)}"
    wish = f"{ANNOTATION_ROLLBACK_TO}={version}"
    kubectl.run("annotate", "agentpackage/assistant", "--overwrite", wish, where)
    _in_service(kubectl, name, version)


def _in_service(kubectl: Kubectl, name: str, version: str) -> None:
    in_service = f"--for=jsonpath={{.status.version}}={version}"
    where = f"--namespace={default_namespace(name)}"
    kubectl.run("wait", in_service, "agentpackage/assistant", where, "--timeout=60s")
