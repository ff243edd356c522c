"""The operator's roles grant what it calls, and nothing that it never calls."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkhead_operator.settings import Settings
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl
from tests.support import chart
from tests.support.api_observer import Observer, observing
from tests.support.deadline import until
from tests.support.running_operator import running
from tests.support.stub_runtime import StubRuntime

ACCOUNT = f"system:serviceaccount:{chart.NAMESPACE}:bulkhead-operator"
FORBIDDEN = 403
Right = tuple[str, str, str]
"""API group, resource (with its subresource) and verb."""

LAST_FILES = {"org-acme": "runtime-packages-0", "org-made": "runtime-config"}
"""The ConfigMap written last in each namespace: the stub reads all of them when a pod starts, and
one that starts between two of them is, unlike a real runtime, never asked again."""

ONLY_CHANGED = {"pods", "organizationruntimes"}
"""Patched by the operator, made by others."""

RARE: frozenset[Right] = frozenset(
    {
        # A standby watches the Lease; this operator leads from the start.
        ("coordination.k8s.io", "leases", "watch"),
        # Asked only after the API server refused a status.
        ("bulkhead.dev", "agentpackages", "get"),
        ("bulkhead.dev", "memorypools", "get"),
        # Only for versions that prepare something before they take over.
        ("batch", "jobs", "get"),
        ("batch", "jobs", "create"),
        ("batch", "jobs", "patch"),
        ("batch", "jobs", "delete"),
    }
)
"""Rights that are used, but not in an ordinary life."""


@dataclass(frozen=True)
class Calls:
    """What the audit log says of the operator."""

    used: frozenset[Right]
    refused: frozenset[Right]

    @classmethod
    def of(cls, log: Path) -> "Calls":
        used: set[Right] = set()
        refused: set[Right] = set()
        # What comes after the last end of a line is still being written.
        for line in log.read_text().split("\n")[:-1]:
            event = json.loads(line)
            if event["user"]["username"] != ACCOUNT or "objectRef" not in event:
                continue
            right = _right(event["objectRef"], event["verb"])
            code = event.get("responseStatus", {}).get("code", 0)
            (refused if code == FORBIDDEN else used).add(right)
        return cls(frozenset(used), frozenset(refused))


def _right(reference: dict[str, Any], verb: str) -> Right:
    part = reference.get("subresource")
    resource = reference["resource"]
    return (reference.get("apiGroup", ""), f"{resource}/{part}" if part else resource, verb)


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    directory = tmp_path_factory.mktemp("role")
    with ControlPlane(directory, controller_manager=True) as running_plane:
        kubectl = Kubectl(running_plane.kubeconfig)
        kubectl.run("create", "namespace", chart.NAMESPACE)
        for manifest in chart.render({}, "--no-hooks").manifests:
            # The operator runs in this process, with the rights of its account.
            if manifest["kind"] != "Deployment":
                kubectl.apply(json.dumps(manifest))
        yield running_plane


@asynccontextmanager
async def _a_working_life(control_plane: ControlPlane) -> AsyncIterator[Observer]:
    settings = Settings(namespace=chart.NAMESPACE, usage_seconds=5, resync_seconds=10)
    operator = control_plane.kubeconfig_for(chart.NAMESPACE, "bulkhead-operator")
    async with observing(control_plane.kubeconfig) as observer:
        runtime = StubRuntime(observer)
        await runtime.start()
        try:
            async with running(operator, settings, runtime_port=runtime.port):
                kubelet = asyncio.create_task(_run_pods(runtime, observer))
                try:
                    yield observer
                finally:
                    kubelet.cancel()
        finally:
            await runtime.stop()


async def _run_pods(runtime: StubRuntime, observer: Observer) -> None:
    async def round_of_all() -> bool:
        for namespace, last_file in LAST_FILES.items():
            path = f"/api/v1/namespaces/{namespace}/configmaps/{last_file}"
            if await observer.get(path) is not None:
                await runtime.run_pods(namespace)
        return False

    await until(round_of_all, "the test ends", seconds=600)


async def _live(kubectl: Kubectl, observer: Observer) -> None:
    """Take two organizations through everything that makes the operator call."""
    examples = chart.ROOT / "examples"
    await asyncio.to_thread(kubectl.run, "apply", "--filename", examples / "acme.yaml")
    await asyncio.to_thread(kubectl.apply, _MADE)
    await _ready(kubectl, "acme", "made")
    upgrade = examples / "upgrade" / "acme-assistant-v2.yaml"
    await asyncio.to_thread(kubectl.run, "apply", "--filename", upgrade)
    await _until_in_service(observer, "2.0.0")
    await asyncio.to_thread(
        kubectl.run, "annotate", "orgrt", "acme", "bulkhead.dev/rotate-api-key=1"
    )
    await _until_rotated(observer)
    await asyncio.to_thread(kubectl.run, "delete", "orgrt", "acme", "made", "--timeout=120s")


async def _ready(kubectl: Kubectl, *names: str) -> None:
    wanted = [f"orgrt/{name}" for name in names]
    argv = ("wait", "--for=condition=Ready", *wanted, "--timeout=120s")
    if not await asyncio.to_thread(kubectl.succeeds, *argv):
        found = await asyncio.to_thread(kubectl.get, *wanted)
        status = {each["metadata"]["name"]: each["status"] for each in found["items"]}
        pytest.fail(f"not Ready within 120 s: {json.dumps(status, indent=2)}")


async def _until_in_service(observer: Observer, version: str) -> None:
    path = "/apis/bulkhead.dev/v1alpha1/namespaces/org-acme/agentpackages/assistant"

    async def in_service() -> bool:
        found = await observer.get(path)
        return found is not None and found["status"].get("version") == version

    await until(in_service, f"version {version} is in service")


async def _until_rotated(observer: Observer) -> None:
    async def rotated() -> bool:
        found = await observer.get("/apis/bulkhead.dev/v1alpha1/organizationruntimes/acme")
        return found is not None and found["status"].get("handledApiKeyRotation") == "1"

    await until(rotated, "the key is rotated")


_MADE = json.dumps(
    {
        "apiVersion": "bulkhead.dev/v1alpha1",
        "kind": "OrganizationRuntime",
        "metadata": {"name": "made"},
        "spec": {},
    }
)


def _granted(rendered: chart.Rendered) -> dict[str, set[Right]]:
    """Return the rights of each of the operator's roles."""
    roles = {
        "cluster": rendered.one("ClusterRole", "bulkhead-operator"),
        "organization": rendered.one("ClusterRole", "bulkhead-operator-organization"),
        "release": rendered.one("Role", "bulkhead-operator"),
    }
    return {
        name: {
            (group, resource, verb)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        for name, role in roles.items()
    }


def _with_implied(used: frozenset[Right]) -> set[Right]:
    """Add what the API server asks besides the verb that it logs."""
    # Applying an object that is not there asks for `create` too; the log says `patch`.
    created = {
        (group, resource, "create")
        for group, resource, verb in used
        if verb == "patch" and "/" not in resource and resource not in ONLY_CHANGED
    }
    # Asked when a RoleBinding is written.
    return set(used) | created | {("rbac.authorization.k8s.io", "clusterroles", "bind")}


async def test_the_operator_has_every_right_it_uses_and_no_other(
    control_plane: ControlPlane,
) -> None:
    kubectl = Kubectl(control_plane.kubeconfig)
    async with _a_working_life(control_plane) as observer:
        await _live(kubectl, observer)
    calls = Calls.of(control_plane.audit_log)
    granted = _granted(chart.render())
    everywhere = granted["cluster"] | granted["release"]
    # A RoleBinding is known to the authorizer a moment after it is made; that is retried.
    assert calls.refused <= granted["organization"]
    assert calls.used <= everywhere | granted["organization"]
    assert everywhere | granted["organization"] == _with_implied(calls.used) | RARE
