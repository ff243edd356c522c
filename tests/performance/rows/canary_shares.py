"""A canary's share of new sessions against the weight that its step names."""

import json
from pathlib import Path

from bulkhead_api.names import ANNOTATION_APPROVE_STEP, default_namespace
from tests.cluster.kubectl import Kubectl
from tests.performance.harness.programs import ask
from tests.performance.harness.results import OURS, Bar, plain
from tests.performance.harness.rounds import Round
from tests.performance.rows.local_cluster import (
    connect,
    key_file,
    organization,
    package,
    served,
    service_url,
    unique,
    until,
)

_WEIGHTS = (5, 25, 50)
_SESSIONS, _AT_ONCE = 10_000, 16
_CANARY = "2.0.0"
_LIMITS = {"rateLimitPerMinute": 1000000, "maxConcurrentAgents": 500, "maxQueueSize": 5000}

BARS = (
    Bar("canary-share", "canary's share of 10,000 new sessions, percentage points off",
        f"weights {', '.join(map(str, _WEIGHTS))}", 1.0, "lower", plain("off"), summary="worst"),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Begin ten thousand sessions in each step of a canary."""
    kubectl = connect()
    rounds = []
    for _ in range(count):
        manifest = organization(unique("bench-canary"), limits=_LIMITS, storage={"sizeMB": 2048})
        with served(kubectl, manifest) as name:
            rounds += [
                Round({OURS: _share(kubectl, name, directory, step)})
                for step in range(len(_WEIGHTS))
            ]
    return rounds


def _share(kubectl: Kubectl, name: str, directory: Path, step: int) -> dict[str, float]:
    _enter(kubectl, name, step)
    url = service_url(kubectl, default_namespace(name))
    report = ask(
        "load",
        "shares",
        *("-url", f"{url}/v1/agents/assistant/execute"),
        *("-key", key_file(kubectl, name, directory / "key")),
        *("-total", str(_SESSIONS), "-connections", str(_AT_ONCE)),
    )
    share = 100 * report["sessions"].get(_CANARY, 0) / _SESSIONS
    return {"share": share, "off": abs(share - _WEIGHTS[step])}


def _enter(kubectl: Kubectl, name: str, step: int) -> None:
    """Begin the rollout, or approve the step before; returns when runtimes follow the weight."""
    where = f"--namespace={default_namespace(name)}"
    if step == 0:
        manifest = package(name, _CANARY)
        steps = [{"weight": weight, "approval": True} for weight in _WEIGHTS]
        manifest["spec"]["rollout"] = {"strategy": "Canary", "steps": steps}
        kubectl.run("apply", "--filename=-", stdin=json.dumps(manifest))
    else:
        wish = f"{ANNOTATION_APPROVE_STEP}={step}"
        kubectl.run("annotate", "agentpackage/assistant", "--overwrite", wish, where)
    weight = f'{{.status.versions[?(@.version=="{_CANARY}")].weight}}'
    until(
        f"the weight of step {step + 1}",
        lambda: (
            kubectl.run("get", "agentpackage/assistant", where, f"--output=jsonpath={weight}")
            == str(_WEIGHTS[step])
        ),
        seconds=60,
    )
