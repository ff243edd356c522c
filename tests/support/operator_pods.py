"""The operator's replicas on the cluster, and how a container dies without a word.

Deleting a pod, even by force, lets the kubelet ask its processes to end first. What is meant here
is the end that nobody is asked about: SIGKILL, from the machine on which the node's processes run.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.cluster import Kubectl

SYSTEM = "bulkhead-system"
SELECTOR = "app.kubernetes.io/name=bulkhead-operator"


@dataclass(frozen=True)
class Container:
    """The first container of a pod."""

    pod: str
    id: str

    @classmethod
    def of(cls, kubectl: Kubectl, namespace: str, pod: str) -> "Container":
        status = kubectl.get("pod", pod, "-n", namespace)["status"]["containerStatuses"][0]
        return cls(pod, status["containerID"].rpartition("/")[2])

    def kill(self) -> None:
        """End its processes; fails where this machine sees none of them."""
        processes = list(self._processes())
        assert processes, f"no process of pod {self.pod} runs on this machine"
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _processes(self) -> Iterator[int]:
        for groups in Path("/proc").glob("[0-9]*/cgroup"):
            with suppress(FileNotFoundError, ProcessLookupError):
                if self.id in groups.read_text():
                    yield int(groups.parent.name)


def leader(kubectl: Kubectl) -> str:
    """Return the name of the pod that leads; empty while none does."""
    lease = kubectl.get("lease", "bulkhead-operator", "-n", SYSTEM)
    holder: str = lease["spec"].get("holderIdentity", "")
    # After the pod's name comes what tells one process in it from the next.
    return holder.partition("_")[0]


def kill(kubectl: Kubectl, replica: Container) -> None:
    """End a replica of the operator; another pod comes in its place.

    Its container alone would come back too, after pauses that the kubelet makes longer and longer.
    """
    replica.kill()
    kubectl("delete", "pod", replica.pod, "-n", SYSTEM, "--grace-period=0", "--force")
