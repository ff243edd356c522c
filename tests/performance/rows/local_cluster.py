"""The cluster that is up, as the rows that need real pods use it; they leave it as it was."""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bulkhead_api.names import API_VERSION, RUNTIME, default_namespace
from tests.cluster import organizations
from tests.cluster.commands import run
from tests.cluster.kubectl import Kubectl
from tests.cluster.places import ROOT
from tests.cluster.progress import ClusterError
from tests.performance.harness.rounds import MeasurementError

_TIMEOUT = "--timeout=180s"


def connect() -> Kubectl:
    """Return kubectl on the cluster that `make up` brought up."""
    try:
        python = ROOT / ".venv" / "bin" / "python"
        kubeconfig = Path(run([python, "-m", "tests.cluster", "kubeconfig"]).strip())
        kubectl = Kubectl(kubeconfig)
        kubectl.run("get", "crd", "organizationruntimes.bulkhead.dev")
    except ClusterError as error:
        raise MeasurementError(f"this row needs the cluster; run `make up`. {error}") from error
    return kubectl


def unique(prefix: str) -> str:
    """Return a name that no earlier run can have left behind."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def organization(
    name: str, limits: Mapping[str, object] | None = None, **spec: object
) -> dict[str, Any]:
    """Return an OrganizationRuntime that asks the shared node for little."""
    least = {"requests": {"cpuMillicores": 50, "memoryMB": 96}}
    limits = {**least, "sessionCreationsPerMinute": 1_000_000, **(limits or {})}
    return {
        "apiVersion": API_VERSION,
        "kind": "OrganizationRuntime",
        "metadata": {"name": name},
        "spec": {**spec, "limits": limits},
    }


def package(name: str, version: str, **agent: object) -> dict[str, Any]:
    """Return the organization's AgentPackage with the one agent `assistant`."""
    instructions = f"You are the assistant, version {version}."
    return {
        "apiVersion": API_VERSION,
        "kind": "AgentPackage",
        "metadata": {"name": "assistant", "namespace": default_namespace(name)},
        "spec": {
            "version": version,
            "agents": [{"name": "assistant", "instructions": instructions, **agent}],
        },
    }


def wait_ready(kubectl: Kubectl, kind: str, name: str, *where: str) -> None:
    """Wait until the object's Ready is True."""
    kubectl.run("wait", "--for=condition=Ready", f"{kind}/{name}", _TIMEOUT, *where)


@contextmanager
def served(kubectl: Kubectl, manifest: dict[str, Any]) -> Iterator[str]:
    """Apply an organization with its package, wait until both serve; removes them at the end."""
    name: str = manifest["metadata"]["name"]
    try:
        kubectl.apply(json.dumps(manifest))
        wait_ready(kubectl, "organizationruntime", name)
        kubectl.apply(json.dumps(package(name, "1.0.0")))
        where = f"--namespace={default_namespace(name)}"
        wait_ready(kubectl, "agentpackage", "assistant", where)
        yield name
    finally:
        remove(kubectl, "organizationruntime", name)


def remove(kubectl: Kubectl, kind: str, name: str) -> None:
    """Delete an object and wait until it is gone."""
    kubectl.run("delete", kind, name, "--ignore-not-found", "--wait", _TIMEOUT)


def service_url(kubectl: Kubectl, namespace: str) -> str:
    """Return the Service's address, which this machine reaches as a node does."""
    where = (f"--namespace={namespace}", "--output=jsonpath={.spec.clusterIP}")
    return f"http://{kubectl.run('get', 'service', RUNTIME, *where)}"


def key_file(kubectl: Kubectl, name: str, path: Path) -> Path:
    """Write the organization's API key to a file of its own."""
    path.touch(mode=0o600)
    path.write_text(organizations.key(kubectl, name))
    return path


def until(what: str, check: Callable[[], bool], *, seconds: float = 180) -> None:
    """Poll until `check` holds; raises MeasurementError after the deadline."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise MeasurementError(f"{what}: not seen in {seconds:g} s")
        time.sleep(0.2)
