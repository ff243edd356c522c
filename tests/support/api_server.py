"""The operator's client against a real API server, for tests of the machinery."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bulkhead_api.names import API_VERSION, LABEL_ORGANIZATION
from bulkhead_operator.cluster.api_server import ApiServer
from bulkhead_operator.cluster.children import Children
from bulkhead_operator.cluster.client import ApiClient, Fence, unfenced
from bulkhead_operator.cluster.credentials import from_kubeconfig
from bulkhead_operator.cluster.events import Events
from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.errors import ClusterError
from tests.support.deadline import until

ROOT = Path(__file__).parents[2]
CRDS = ("organizationruntimes", "agentpackages", "memorypools")
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[ApiClient]:
    async with ApiClient(from_kubeconfig(kubeconfig), user_agent="bulkhead-tests") as client:
        yield client


async def install_crds(client: ApiClient) -> None:
    for name in CRDS:
        definition = yaml.safe_load((ROOT / "crds" / f"{name}.yaml").read_text())
        await client.write("POST", _DEFINITIONS, definition, fence=unfenced)

    async def served() -> bool:
        try:
            for name in CRDS:
                await client.read(f"/apis/{API_VERSION}/{name}")
        except ClusterError:
            return False
        return True

    await until(served, "the API server serves our kinds")


def configmap(
    name: str, organization: str | None = "acme", namespace: str = "default", **data: str
) -> Manifest:
    labels = {} if organization is None else {LABEL_ORGANIZATION: organization}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "data": data or {"key": "value"},
    }


def organization(name: str, **spec: object) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": "OrganizationRuntime",
        "metadata": {"name": name},
        "spec": spec,
    }


def package(name: str, namespace: str) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": "AgentPackage",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "version": "1.0.0",
            "agents": [{"name": name, "instructions": "Answer briefly."}],
        },
    }


async def post(client: ApiClient, manifest: Manifest, collection: str) -> Manifest:
    return await client.write("POST", collection, manifest, fence=unfenced)


@dataclass
class Wiring:
    """`ApiServer` and `Children` wired as the operator does; `wanted` is what is desired."""

    client: ApiClient
    wanted: dict[str, dict[ObjectKey, Manifest]] = field(default_factory=dict)
    rung: list[str] = field(default_factory=list)
    written: list[Manifest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.children = Children(self.wanted.get, self.rung.append)
        events = Events(self.client, fence=unfenced, instance="tests", on_drop=lambda: None)
        self.cluster = self.fenced(unfenced, events)

    def fenced(self, fence: Fence, events: Events | None = None) -> ApiServer:
        return ApiServer(
            self.client,
            fence=fence,
            children=self.children,
            events=events
            or Events(self.client, fence=fence, instance="tests", on_drop=lambda: None),
            expecting=nullcontext,
            on_written=self.written.append,
        )

    def want(self, organization: str, *manifests: Manifest) -> None:
        self.wanted[organization] = {ObjectKey.of(each): each for each in manifests}


@asynccontextmanager
async def running(coroutine: Any) -> AsyncIterator["asyncio.Task[Any]"]:
    """Run a part in the background, and end it with the block."""
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def python(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start a Python process that sees the sources."""
    path = ":".join(str(ROOT / name) for name in (".", "crds", "operator"))
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
