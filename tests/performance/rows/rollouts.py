"""A version delivered and taken back, against a rolling update of the same content and its undo."""

import json
import time
from pathlib import Path
from typing import Any

from bulkhead_api.names import default_namespace
from tests.cluster.kubectl import Kubectl
from tests.performance.harness.programs import Background
from tests.performance.harness.results import OURS, Bar, ratio
from tests.performance.harness.rounds import MeasurementError, Round
from tests.performance.rows.local_cluster import (
    connect,
    key_file,
    organization,
    package,
    served,
    service_url,
    unique,
)
from tests.performance.rows.rolled_deployment import RolledDeployment, beside

PEER = "deployment"
_SESSIONS_PER_SECOND = 50
_LIMITS = {"rateLimitPerMinute": 1000000, "maxConcurrentAgents": 200, "maxQueueSize": 1000}
_VERDICT = "ProgressDeadlineExceeded"
_UPDATE = "rolling update of a Deployment with the same content"
_UNDO = "kubectl rollout undo of the same Deployment"

BARS = (
    Bar("rollout-first-session", "version applied until the first new session has it, p50", _UPDATE,
        0.2, "lower", ratio("first_s", PEER)),
    Bar("rollout-first-session-worst", "the same, worst", _UPDATE, 0.2, "lower",
        ratio("first_s", PEER), summary="worst"),
    Bar("rollout-taken-back", "verdict until no new session gets the bad version, p50", _UNDO, 0.2,
        "lower", ratio("back_s", PEER)),
    Bar("rollout-taken-back-worst", "the same, worst", _UNDO, 0.2, "lower",
        ratio("back_s", PEER), summary="worst"),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Deliver a good and a bad version to each while 50 sessions a second begin."""
    kubectl = connect()
    manifest = organization(unique("bench-rollout"), limits=_LIMITS)
    with served(kubectl, manifest) as name, beside(kubectl, default_namespace(name)) as peer:
        key = key_file(kubectl, name, directory / "key")
        return [_round(kubectl, name, peer, key, 2 * number) for number in range(count)]


def _round(kubectl: Kubectl, name: str, peer: RolledDeployment, key: Path, number: int) -> Round:
    good, bad = f"1.{number + 1}.0", f"1.{number + 2}.0"
    namespace = default_namespace(name)
    with _sessions(kubectl, namespace, key) as load:
        applied = time.time()
        _apply(kubectl, package(name, good))
        _wait(kubectl, name, f"jsonpath={{.status.version}}={good}")
        content = peer.content(good)
        verdict = _judged(kubectl, name, bad)
        report = load.finish()
        ours = {"first_s": _first(report, good) - applied, "back_s": _last(report, bad) - verdict}
    with _sessions(kubectl, peer.namespace, key) as load:
        applied = time.time()
        peer.apply(content)
        peer.wait()
        undone = time.time()
        peer.undo()
        peer.wait()
        report = load.finish()
        theirs = {"first_s": _first(report, good) - applied, "back_s": _last(report, good) - undone}
    # What no session got after the verdict was gone at once.
    return Round({OURS: ours | {"back_s": max(ours["back_s"], 0.0)}, PEER: theirs})


def _judged(kubectl: Kubectl, name: str, version: str) -> float:
    """Deliver a version that gets half of the sessions and misses its deadline.

    Returns when the verdict was seen; afterwards the former version serves alone.
    """
    manifest = package(name, version)
    manifest["spec"]["rollout"] = {
        "strategy": "Canary",
        "steps": [{"weight": 50}],
        "analysis": {"maxErrorPercent": 100, "minimumExecutions": 1_000_000},
        "progressDeadlineSeconds": 10,
    }
    _apply(kubectl, manifest)
    _wait(kubectl, name, f"jsonpath={{.status.rollout.failure.reason}}={_VERDICT}")
    verdict = time.time()
    _wait(kubectl, name, "condition=Stalled")
    return verdict


def _wait(kubectl: Kubectl, name: str, condition: str) -> None:
    where = f"--namespace={default_namespace(name)}"
    kubectl.run("wait", f"--for={condition}", "agentpackage/assistant", where, "--timeout=60s")


def _first(report: dict[str, Any], version: str) -> float:
    return _seen(report, "first_seen", version)


def _last(report: dict[str, Any], version: str) -> float:
    return _seen(report, "last_seen", version)


def _seen(report: dict[str, Any], which: str, version: str) -> float:
    if version not in report[which]:
        raise MeasurementError(f"no session began with {version}: {report}")
    seen: float = report[which][version]
    return seen


def _sessions(kubectl: Kubectl, namespace: str, key: Path) -> Background:
    return Background(
        "load",
        "versions",
        *("-url", f"{service_url(kubectl, namespace)}/v1/agents/assistant/execute"),
        *("-key", key, "-rate", str(_SESSIONS_PER_SECOND), "-connections", "0"),
    )


def _apply(kubectl: Kubectl, manifest: dict[str, Any]) -> None:
    kubectl.run("apply", "--filename=-", stdin=json.dumps(manifest))
