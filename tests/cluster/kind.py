"""The cluster in a container engine, by kind, for machines that have one."""

from pathlib import Path

from tests.cluster import binaries, forwarding, places
from tests.cluster.commands import run, run_logged, succeeds
from tests.cluster.images import Image
from tests.cluster.kubectl import Kubectl
from tests.cluster.progress import Step

NAME = "bulkhead"
_ENGINE_SECONDS = 20.0


def engine_answers() -> bool:
    """Tell whether Docker is not only installed but at work."""
    return succeeds(["docker", "info"], timeout=_ENGINE_SECONDS)


class KindCluster:
    """A kind cluster called `bulkhead`."""

    def __init__(self) -> None:
        self._state = places.state()

    ready = "kind cluster"
    loadable = "kind cluster"

    @property
    def kubeconfig(self) -> Path:
        """Return a kubeconfig of its own: the user's is left alone."""
        return self._state / "kind.conf"

    def steps(self) -> list[Step]:
        """Return what brings the cluster up."""
        return [
            Step("binaries", self._binaries),
            Step("kind cluster", self._create, after=["binaries"]),
        ]

    def load(self, built: list[Image]) -> str:
        """Bring images to the node."""
        for image in built:
            run([*self._kind("load", "image-archive"), image.archive, f"--name={NAME}"])
        return f"{len(built)} loaded"

    def url(self, namespace: str, service: str) -> str:
        """Return an address of this machine that leads to the Service."""
        return forwarding.url(Kubectl(self.kubeconfig), self._state, namespace, service)

    def status(self) -> list[str]:
        """Return the cluster's state in one line."""
        return [f"kind cluster {NAME}: {'running' if self._exists() else 'not there'}"]

    def down_steps(self) -> list[Step]:
        """Return what takes the cluster down."""
        return [Step("forwarded ports", self._close), Step("kind cluster", self._delete)]

    def _binaries(self) -> None:
        binaries.ensure("kubectl", "helm", "kind")

    def _create(self) -> str:
        if self._exists():
            run([*self._kind("export", "kubeconfig"), f"--name={NAME}", *self._kubeconfig()])
            return "already there"
        self._state.mkdir(parents=True, exist_ok=True)
        configuration = places.HERE / "kind.yaml"
        argv = [*self._kind("create", "cluster"), f"--name={NAME}", f"--config={configuration}"]
        run_logged(
            [*argv, "--wait=180s", *self._kubeconfig()],
            places.cache() / "logs" / "kind.log",
            remedy="see that the container engine can pull images, or use CLUSTER=local.",
        )
        return "created"

    def _close(self) -> None:
        forwarding.close(self._state)

    def _delete(self) -> None:
        run([*self._kind("delete", "cluster"), f"--name={NAME}", *self._kubeconfig()])
        self.kubeconfig.unlink(missing_ok=True)

    def _exists(self) -> bool:
        return NAME in run(self._kind("get", "clusters")).split()

    def _kubeconfig(self) -> list[str]:
        return [f"--kubeconfig={self.kubeconfig}"]

    def _kind(self, *args: str) -> list[str | Path]:
        return [binaries.ensure("kind")["kind"], *args]
