"""Nodes and pods that exist only in the API, for measuring an operator without running pods.

kwok answers for nodes with its annotation and lets their pods become Ready; the scheduler puts
pods there because nothing else takes them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.cluster import binaries, command_lines
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl
from tests.cluster.processes import Daemon
from tests.cluster.progress import ClusterError, until

_ANNOTATION = {"kwok.x-k8s.io/node": "fake"}
_TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
_CAPACITY = {"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "10Ti", "pods": "10000"}
# The stages that make everything ready at once, and the leases that keep nodes alive.
_STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
_READY_SECONDS = 60.0


@contextmanager
def simulated_nodes(
    control_plane: ControlPlane, count: int, *, tainted: bool = False, scheduler: bool = True
) -> Iterator[list[str]]:
    """Let `count` simulated nodes be Ready; yields their names and takes them away afterwards.

    The control plane must run with its controller manager, or no Deployment gets pods. A taint
    is for clusters that have real nodes too; pods then need a toleration for it.
    """
    programs = binaries.ensure("kwok", "kube-scheduler")
    directory = control_plane.directory
    daemons = [_kwok(programs["kwok"], control_plane.kubeconfig, directory)]
    if scheduler:
        line = command_lines.scheduler(programs["kube-scheduler"], control_plane.kubeconfig)
        daemons.append(Daemon("kube-scheduler", (*line, "--secure-port=0"), directory))
    names = [f"simulated-{number}" for number in range(count)]
    kubectl = Kubectl(control_plane.kubeconfig)
    try:
        for daemon in daemons:
            daemon.start()
        kubectl.apply(yaml.safe_dump_all(_node(name, tainted=tainted) for name in names))
        _wait_until_ready(kubectl, names, daemons)
        yield names
    finally:
        kubectl.run("delete", "nodes", "--ignore-not-found", "--wait=false", *names)
        for daemon in daemons:
            daemon.stop()


def _kwok(program: Path, kubeconfig: Path, directory: Path) -> Daemon:
    stages = binaries.folder("kwok") / "stages"
    files = [
        path
        for stage in _STAGES
        for path in sorted((stages / stage).glob("*.yaml"))
        if path.name != "kustomization.yaml"
    ]
    configuration = directory / "kwok.yaml"
    configuration.write_text("\n---\n".join(path.read_text() for path in files))
    argv = (
        str(program),
        f"--kubeconfig={kubeconfig}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={_selector()}",
        "--node-lease-duration-seconds=40",
        f"--config={configuration}",
    )
    return Daemon("kwok", argv, directory)


def _selector() -> str:
    ((key, value),) = _ANNOTATION.items()
    return f"{key}={value}"


def _node(name: str, *, tainted: bool) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": _ANNOTATION,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [_TAINT] if tainted else []},
        "status": {"allocatable": _CAPACITY, "capacity": _CAPACITY},
    }


def _wait_until_ready(kubectl: Kubectl, names: Sequence[str], daemons: Sequence[Daemon]) -> None:
    def ready() -> bool:
        for daemon in daemons:
            if not daemon.running():
                raise ClusterError(f"{daemon.name} ended by itself.", log=daemon.log)
        nodes = (f"node/{name}" for name in names)
        return kubectl.succeeds("wait", "--for=condition=Ready", *nodes, "--timeout=10s")

    until(ready, seconds=_READY_SECONDS, what="The simulated nodes are Ready", log=daemons[0].log)
