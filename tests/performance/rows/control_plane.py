"""An API server of its own for each run, and on it the operator or its Go peer."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import binaries
from tests.cluster.commands import run
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl
from tests.cluster.places import ROOT
from tests.cluster.processes import recorded_pid
from tests.performance.harness.processes import (
    Process,
    cpu_seconds,
    free_port,
    listens,
    started,
)
from tests.performance.harness.programs import program

NAMESPACE = "bulkhead-system"
ACCOUNT = "bulkhead-operator"
LEASE = ACCOUNT
"""The one that the role lets the account hold."""

USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
# What the chart installs for the API server to see; the operator itself runs as a process.
_SEEN_BY_THE_API_SERVER = frozenset(
    {
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "ClusterRole",
        "ClusterRoleBinding",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
)
_IMAGE_PACKAGES = Path(__file__).resolve().parent / "image_packages"


@dataclass(frozen=True)
class Cluster:
    """A control plane with the API installed, and a folder for the logs of what runs on it."""

    plane: ControlPlane
    directory: Path

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl as an administrator and return what it printed."""
        return Kubectl(self.plane.kubeconfig).run(*arguments)

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply manifests server-side as an administrator."""
        content = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        Kubectl(self.plane.kubeconfig).apply(content)

    def install(self) -> None:
        """Apply the kinds, the operator's namespace, its account and its rights."""
        helm = binaries.ensure("helm")["helm"]
        self.kubectl("create", "namespace", NAMESPACE)
        self.kubectl("apply", "--server-side", "--filename", str(ROOT / "crds"))
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        chart: list[str | Path] = [helm, "template", "bulkhead", ROOT / "charts" / "bulkhead"]
        rendered = yaml.safe_load_all(run([*chart, "--namespace", NAMESPACE]))
        wanted = (each for each in rendered if each and each["kind"] in _SEEN_BY_THE_API_SERVER)
        self.apply(*(_in_namespace(manifest) for manifest in wanted))

    def cpu_seconds(self) -> float:
        """Return what the API server and etcd have computed, on whoever's behalf."""
        records = (self.plane.directory / "pids").glob("*.json")
        return sum(cpu_seconds(pid) for record in records if (pid := recorded_pid(record)))

    def kubeconfig_of_operator(self) -> Path:
        """Return a kubeconfig with a token of the operator's account, as its pod would have."""
        account = ("create", "token", ACCOUNT, "--namespace", NAMESPACE, "--duration=12h")
        authority = base64.b64encode(self.plane.ca.read_bytes()).decode()
        server = {"server": self.plane.url, "certificate-authority-data": authority}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": server}],
            "users": [{"name": "operator", "user": {"token": self.kubectl(*account).strip()}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "operator"}}],
            "current-context": "bench",
        }
        path = self.directory / "operator.conf"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content))
        return path


def _in_namespace(manifest: dict[str, Any]) -> dict[str, Any]:
    if not manifest["kind"].startswith(("Cluster", "Validating")):
        manifest["metadata"].setdefault("namespace", NAMESPACE)
    return manifest


@contextmanager
def cluster(directory: Path, *, controllers: bool = False) -> Iterator[Cluster]:
    """Run a control plane with the API installed until the block ends."""
    with ControlPlane(directory / "plane", controller_manager=controllers) as plane:
        made = Cluster(plane, directory)
        made.install()
        yield made


@dataclass(frozen=True)
class Controller:
    """The operator or its peer, at work; `metrics_port` is None where it serves none."""

    process: Process
    metrics_port: int | None = field(default=None)


@contextmanager
def operator(cluster: Cluster, **settings: str) -> Iterator[Controller]:
    """Run the operator with the rights that the chart gives it, and nothing more."""
    metrics_port, probes_port = free_port(), free_port()
    environment = {
        "KUBECONFIG": str(cluster.kubeconfig_of_operator()),
        "PYTHONPATH": f"{_IMAGE_PACKAGES}:{ROOT / 'crds'}:{ROOT / 'operator'}",
        "BULKHEAD_NAMESPACE": NAMESPACE,
        "BULKHEAD_METRICS_PORT": str(metrics_port),
        "BULKHEAD_PROBES_PORT": str(probes_port),
        **{f"BULKHEAD_{name.upper()}": value for name, value in settings.items()},
    }
    argv: list[str | Path] = [ROOT / ".venv" / "bin" / "python", "-m", "bulkhead_operator"]
    with started("operator", argv, cluster.directory, environment=environment) as process:
        process.wait_for("its metrics port", lambda: listens(metrics_port))
        yield Controller(process, metrics_port)


@contextmanager
def peer(cluster: Cluster, template: Path) -> Iterator[Controller]:
    """Run the controller-runtime program in the operator's place: its account, rights, policies."""
    argv: list[str | Path] = [program("controller"), "-template", template]
    argv += ["-lease-namespace", NAMESPACE, "-lease", LEASE]
    environment = {"KUBECONFIG": str(cluster.kubeconfig_of_operator())}
    with started("peer", argv, cluster.directory, environment=environment) as process:
        yield Controller(process)
