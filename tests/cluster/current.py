"""A cluster that the user already has: the one of the current kubeconfig.

Only taken when asked for by CLUSTER=current, because what is installed there is installed for
everybody who uses it. Images must be where that cluster can pull them.
"""

import os
from pathlib import Path

from tests.cluster import binaries, forwarding, places
from tests.cluster.images import Image
from tests.cluster.kubectl import Kubectl
from tests.cluster.progress import ClusterError, Step

OPERATOR_VARIABLE = "BULKHEAD_OPERATOR_IMAGE"
RUNTIME_VARIABLE = "BULKHEAD_RUNTIME_IMAGE"


def given_images() -> tuple[Image, Image]:
    """Return the images of operator and runtime that the user named."""
    return _given(OPERATOR_VARIABLE), _given(RUNTIME_VARIABLE)


class CurrentCluster:
    """The cluster to which kubectl would speak."""

    ready = "cluster answers"
    loadable = "cluster answers"

    @property
    def kubeconfig(self) -> Path:
        """Return the first file of KUBECONFIG, else the usual one."""
        configured = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
        return Path(configured) if configured else Path.home() / ".kube" / "config"

    def steps(self) -> list[Step]:
        """Return what is needed beside the cluster itself."""
        return [
            Step("images are named", self._named),
            Step("binaries", self._binaries, after=["images are named"]),
            Step("cluster answers", self._answers, after=["binaries"]),
        ]

    def load(self, built: list[Image]) -> str:
        """Leave it to the cluster to pull."""
        return f"{len(built)} for the cluster to pull"

    def url(self, namespace: str, service: str) -> str:
        """Return an address of this machine that leads to the Service."""
        return forwarding.url(Kubectl(self.kubeconfig), places.state(), namespace, service)

    def status(self) -> list[str]:
        """Return which cluster it is."""
        return Kubectl(self.kubeconfig).run("cluster-info").splitlines()[:1]

    def down_steps(self) -> list[Step]:
        """Return what ends what `up` began outside the cluster; the cluster itself stays."""
        return [Step("forwarded ports (the cluster stays as it is)", self._close)]

    def _named(self) -> str:
        return " and ".join(image.reference for image in given_images())

    def _binaries(self) -> None:
        binaries.ensure("kubectl", "helm")

    def _answers(self) -> str:
        remedy = "let KUBECONFIG name a cluster that you may administer."
        return Kubectl(self.kubeconfig).run("cluster-info", remedy=remedy).splitlines()[0]

    def _close(self) -> None:
        forwarding.close(places.state())


def _given(variable: str) -> Image:
    repository, colon, tag = os.environ.get(variable, "").rpartition(":")
    if not colon or "/" in tag:
        raise ClusterError(
            f"With CLUSTER=current, {variable} must name an image as REPOSITORY:TAG.",
            remedy=f"push the image, then: {variable}=registry.example.com/name:tag make up",
        )
    return Image(repository, tag)
