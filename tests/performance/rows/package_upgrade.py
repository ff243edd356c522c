"""A new version of a package under load: how soon new sessions get it, and who suffers."""

import json
import time
from pathlib import Path

from bulkhead_api.names import default_namespace
from tests.cluster.kubectl import Kubectl
from tests.performance.harness.programs import Background
from tests.performance.harness.results import OURS, Bar, plain
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

_NEW_SESSIONS_PER_SECOND = 50
_RUNNING_SESSIONS = 20
_LIMITS = {"rateLimitPerMinute": 1000000, "maxConcurrentAgents": 200, "maxQueueSize": 1000}
_AGAINST = "the time at which kubectl was started"

BARS = (
    Bar("upgrade-median", "package applied until the first new session has it, seconds, median",
        _AGAINST, 1.0, "lower", plain("seconds")),
    Bar("upgrade-worst", "package applied until the first new session has it, seconds, worst",
        _AGAINST, 3.0, "lower", plain("seconds"), summary="worst"),
    Bar("upgrade-failed", "requests that failed during the upgrades", "none", 0, "lower",
        plain("failed"), summary="worst"),
    Bar("upgrade-moved", "running sessions that changed their version", "none", 0, "lower",
        plain("moved"), summary="worst"),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Upgrade so many times while 50 sessions a second begin and 20 go on."""
    kubectl = connect()
    versions = [f"1.0.{number}" for number in range(1, count + 1)]
    with served(kubectl, organization(unique("bench-upgrade"), limits=_LIMITS)) as name:
        namespace = default_namespace(name)
        with Background(
            "load",
            "versions",
            *("-url", f"{service_url(kubectl, namespace)}/v1/agents/assistant/execute"),
            *("-key", key_file(kubectl, name, directory / "key")),
            *("-rate", str(_NEW_SESSIONS_PER_SECOND), "-connections", str(_RUNNING_SESSIONS)),
        ) as load:
            applied = {version: _upgrade(kubectl, name, version) for version in versions}
            report = load.finish()
    for example in report["examples"]:
        print(f"    {example}")
    if unseen := [version for version in versions if version not in report["first_seen"]]:
        raise MeasurementError(f"no new session began with {', '.join(unseen)}")
    shared = {"failed": float(report["failed"]), "moved": float(report["moved"])}
    return [
        Round({OURS: {"seconds": report["first_seen"][version] - applied[version], **shared}})
        for version in versions
    ]


def _upgrade(kubectl: Kubectl, name: str, version: str) -> float:
    """Apply a version, wait until it is in service; returns when applying it began."""
    begin = time.time()
    kubectl.run("apply", "--filename=-", stdin=json.dumps(package(name, version)))
    in_service = f"--for=jsonpath={{.status.version}}={version}"
    where = f"--namespace={default_namespace(name)}"
    kubectl.run("wait", in_service, "agentpackage/assistant", where, "--timeout=60s")
    return begin
