"""Rolling updates under load: nobody may notice, and with a naive Deployment somebody must."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bulkhead_api.names import LABEL_ORGANIZATION, default_namespace
from tests.cluster.kubectl import Kubectl
from tests.performance.harness.programs import Background
from tests.performance.harness.results import OURS, Bar, plain
from tests.performance.harness.rounds import Round
from tests.performance.rows import naive_deployment, stub_in_cluster
from tests.performance.rows.local_cluster import (
    connect,
    key_file,
    organization,
    served,
    service_url,
    unique,
    until,
)

NAIVE = "naive"
_UPDATES, _NAIVE_UPDATES = 20, 3
_REQUESTS_PER_SECOND, _STREAMS = 200, 50
_LIMITS = {
    "rateLimitPerMinute": 1000000,
    "maxConcurrentAgents": 500,
    "maxQueueSize": 1000,
    # A terminating pod is waited for that long at most; the streams take three seconds.
    "maxExecutionTimeSeconds": 30,
}
_AGAINST = "20 rolling updates, 200 requests/s (new and kept connections), 50 streams"

BARS = (
    Bar("rolling-requests", "failed requests during rolling updates", _AGAINST, 0, "lower",
        plain("failed"), summary="worst"),
    Bar("rolling-streams", "cut streams during rolling updates", _AGAINST, 0, "lower",
        plain("cut"), summary="worst"),
    Bar("rolling-control", "what a naive Deployment of the same image loses (must lose some)",
        "the same load, 3 rolling updates", 1, "higher", plain("lost", variant=NAIVE)),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Update the organization's runtime 20 times, then a naive Deployment of it, under load."""
    kubectl = connect()
    rounds = []
    with stub_in_cluster.provider(kubectl) as provider, _organization(kubectl, provider) as name:
        url, key = service_url(kubectl, default_namespace(name)), directory / "key"
        key_file(kubectl, name, key)
        for _ in range(count):
            ours = _under_load(url, key, _UPDATES, partial(_update, kubectl, name))
            with naive_deployment.copied(kubectl, default_namespace(name)) as namespace:
                restart = partial(naive_deployment.restart, kubectl, namespace)
                naive_url = service_url(kubectl, namespace)
                naive = _under_load(naive_url, key, _NAIVE_UPDATES, restart)
            rounds.append(Round({OURS: ours, NAIVE: naive}))
    return rounds


@contextmanager
def _organization(kubectl: Kubectl, provider: stub_in_cluster.Provider) -> Iterator[str]:
    manifest = organization(
        unique("bench-rolling"),
        limits=_LIMITS,
        models={"providers": [provider.as_spec()]},
        network={"egress": [provider.as_egress()]},
        storage={"sizeMB": 4096},
    )
    with served(kubectl, manifest) as name:
        # 200 new conversations a second for ten minutes.
        size = {"spec": {"maxMemoryMB": 2048}}
        where = f"--namespace={default_namespace(name)}"
        kubectl.run("patch", "memorypool", "default", where, "--type=merge", "-p", json.dumps(size))
        yield name


def _under_load(
    url: str, key: Path, updates: int, update: Callable[[int], None]
) -> dict[str, float]:
    with Background(
        "load",
        "rolling",
        *("-url", f"{url}/v1/agents/assistant/execute", "-key", key),
        *("-streams-url", f"{url}/v1/chat/completions", "-model", stub_in_cluster.LONG_STREAM),
        *("-chunks", str(stub_in_cluster.CHUNKS), "-connections", str(_STREAMS)),
        *("-rate", str(_REQUESTS_PER_SECOND)),
    ) as load:
        for number in range(updates):
            update(number)
        report = load.finish()
    for example in report["examples"]:
        print(f"    {example}")
    failed, cut = report["failed_new"] + report["failed_kept"], report["failed_streams"]
    return {
        "requests": report["requests"],
        "streams": report["streams"],
        "failed": failed,
        "cut": cut,
        "lost": failed + cut,
        "p99_ms": report["p99_ms"],
    }


def _update(kubectl: Kubectl, name: str, number: int) -> None:
    """Change the organization so that its pod must be replaced, and wait until it was."""
    before = _pods(kubectl, name)
    change: dict[str, Any] = {"spec": {"limits": {"maxCPUPercent": 150 + number % 2}}}
    resource = ("organizationruntime", name)
    kubectl.run("patch", *resource, "--type=merge", "-p", json.dumps(change))
    until(
        f"the rolling update of {name}",
        lambda: len(now := _pods(kubectl, name)) == 1 and not now & before,
    )


def _pods(kubectl: Kubectl, name: str) -> set[str]:
    output = "--output=jsonpath={.items[*].metadata.uid}"
    where = (f"--namespace={default_namespace(name)}", f"--selector={LABEL_ORGANIZATION}={name}")
    return set(kubectl.run("get", "pods", *where, output).split())
