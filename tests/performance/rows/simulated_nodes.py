"""Nodes and pods that exist only in the API, so that a thousand organizations become Ready here.

kwok proves the control path only: no container starts and no image is pulled.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from bulkhead_api.names import INTERNAL_PORT
from tests.cluster import binaries
from tests.cluster.commands import run
from tests.cluster.simulated import simulated_nodes
from tests.performance.harness.processes import free_port, listens, started
from tests.performance.harness.programs import program
from tests.performance.harness.rounds import MeasurementError
from tests.performance.rows.control_plane import Cluster, cluster

# Reserved for benchmarks of networks (RFC 2544); routed to this machine for as long as it takes.
_POD_RANGE = "198.18.0.0/15"
_CONTROLLERS = ("deployment-controller", "replicaset-controller", "resourcequota-controller")
# A cluster's controllers throttle themselves to 20 requests a second; here they are not measured.
_UNTHROTTLED = ("--kube-api-qps=1000", "--kube-api-burst=2000")


@contextmanager
def simulated_cluster(directory: Path) -> Iterator[Cluster]:
    """Run a control plane whose pods become ready at once and say that they follow."""
    programs = binaries.ensure("kube-controller-manager", "kube-scheduler")
    with ExitStack() as stack:
        made = stack.enter_context(cluster(directory))
        stack.enter_context(_runtimes(made))
        kubeconfig = made.plane.kubeconfig
        commands: dict[str, list[str]] = {
            "kube-controller-manager": [
                f"--kubeconfig={kubeconfig}",
                "--leader-elect=false",
                f"--secure-port={free_port()}",
                f"--controllers={','.join(_CONTROLLERS)}",
                "--concurrent-deployment-syncs=20",
                "--concurrent-replicaset-syncs=20",
                "--concurrent-resource-quota-syncs=20",
                *_UNTHROTTLED,
            ],
            "kube-scheduler": [
                f"--config={_scheduler_configuration(directory, kubeconfig)}",
                f"--secure-port={free_port()}",
            ],
        }
        for name, flags in commands.items():
            stack.enter_context(started(name, [programs[name], *flags], directory))
        nodes = simulated_nodes(made.plane, 1, scheduler=False)
        _admit_pods(made, *stack.enter_context(nodes))
        yield made


def _admit_pods(made: Cluster, node: str) -> None:
    """Give the node addresses that reach this machine, and take what a controller would take."""
    addresses = {"podCIDR": _POD_RANGE, "podCIDRs": [_POD_RANGE]}
    change = json.dumps({"spec": {**addresses, "taints": None}})
    made.kubectl("patch", "node", node, "--type=merge", f"--patch={change}")


@contextmanager
def _runtimes(made: Cluster) -> Iterator[None]:
    if listens(INTERNAL_PORT):
        raise MeasurementError(
            f"Something listens on port {INTERNAL_PORT} of this machine, where the simulated "
            "runtimes must answer: stop it for as long as this row runs"
        )
    # Not "add": one that a run left behind when it was killed is as good as a new one.
    run(["ip", "route", "replace", "local", _POD_RANGE, "dev", "lo"])
    try:
        argv: list[str | Path] = [program("runtimes"), "-address", f":{INTERNAL_PORT}"]
        argv += ["-kubeconfig", made.plane.kubeconfig]
        with started("runtimes", argv, made.directory) as process:
            process.wait_for("its port", lambda: listens(INTERNAL_PORT))
            yield
    finally:
        run(["ip", "route", "del", "local", _POD_RANGE, "dev", "lo"])


def _scheduler_configuration(directory: Path, kubeconfig: Path) -> Path:
    """Return a configuration without volumes: no provisioner binds the simulated claims."""
    volumes = ("VolumeBinding", "VolumeZone", "VolumeRestrictions", "NodeVolumeLimits")
    disabled = [{"name": plugin} for plugin in volumes]
    path = directory / "scheduler.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "kubescheduler.config.k8s.io/v1",
                "kind": "KubeSchedulerConfiguration",
                "leaderElection": {"leaderElect": False},
                "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 1000, "burst": 2000},
                "profiles": [{"plugins": {"multiPoint": {"disabled": disabled}}}],
            }
        )
    )
    return path
