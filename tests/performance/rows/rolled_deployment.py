"""The same runtime and content as a Deployment of somebody's own, done as the books say.

Each version is a set of ConfigMaps under names of its own, as kustomize generates them; a new
one is a rolling update that surges and waits for readiness, and `kubectl rollout undo` goes back.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bulkhead_api.names import DATA_CLAIM, RUNTIME
from tests.cluster.kubectl import Kubectl
from tests.performance.rows.local_cluster import remove, unique

_LABELS = {"example.com/app": "rolled-runtime"}


class RolledDeployment:
    """Runs in a namespace of its own beside the organization whose content it copies."""

    def __init__(self, kubectl: Kubectl, source: str, namespace: str) -> None:
        self._kubectl = kubectl
        self._source = source
        self.namespace = namespace
        live = kubectl.get("deployment", RUNTIME, f"--namespace={source}")
        self._pod: dict[str, Any] = live["spec"]["template"]["spec"]

    def prepare(self) -> None:
        """Bring what does not change with a version: Secrets and the Service."""
        secrets = self._kubectl.get("secrets", f"--namespace={self._source}")["items"]
        self._apply([*(self._moved(each, "") for each in secrets), self._service()])

    def content(self, version: str) -> str:
        """Return what delivers the version that the organization serves now, to be applied."""
        maps = self._kubectl.get("configmaps", f"--namespace={self._source}")["items"]
        suffix = f"-{version.replace('.', '-')}"
        ours = [each for each in maps if each["metadata"]["name"].startswith(f"{RUNTIME}-")]
        items = [*(self._moved(each, suffix) for each in ours), self._deployment(suffix)]
        return _list(items)

    def apply(self, content: str) -> None:
        """Deliver a version; returns when kubectl does."""
        self._kubectl.apply(content)

    def undo(self) -> None:
        """Go back to the version before; returns when kubectl does."""
        self._kubectl.run("rollout", "undo", f"deployment/{RUNTIME}", self._where)

    def wait(self) -> None:
        """Wait until no pod of another version is left."""
        self._kubectl.run(
            "rollout", "status", f"deployment/{RUNTIME}", self._where, "--timeout=180s"
        )

    @property
    def _where(self) -> str:
        return f"--namespace={self.namespace}"

    def _apply(self, items: list[dict[str, Any]]) -> None:
        self._kubectl.apply(_list(items))

    def _moved(self, live: dict[str, Any], suffix: str) -> dict[str, Any]:
        kept: dict[str, Any] = {
            key: live[key] for key in ("apiVersion", "kind", "type", "data") if key in live
        }
        name = f"{live['metadata']['name']}{suffix}"
        return kept | {"metadata": {"name": name, "namespace": self.namespace}}

    def _deployment(self, suffix: str) -> dict[str, Any]:
        pod = {
            "automountServiceAccountToken": False,
            "securityContext": self._pod["securityContext"],
            "terminationGracePeriodSeconds": self._pod["terminationGracePeriodSeconds"],
            "containers": self._pod["containers"],
            "volumes": [_volume(volume, suffix) for volume in self._pod["volumes"]],
        }
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": RUNTIME, "namespace": self.namespace},
            "spec": {
                "replicas": 1,
                "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "selector": {"matchLabels": _LABELS},
                "template": {"metadata": {"labels": _LABELS}, "spec": pod},
            },
        }

    def _service(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": RUNTIME, "namespace": self.namespace},
            "spec": {"selector": _LABELS, "ports": [{"port": 80, "targetPort": "http"}]},
        }


@contextmanager
def beside(kubectl: Kubectl, source: str) -> Iterator[RolledDeployment]:
    """Run the Deployment until the block ends, in the version that the organization serves."""
    namespace = unique("bench-rolled")
    kubectl.run("create", "namespace", namespace)
    try:
        deployment = RolledDeployment(kubectl, source, namespace)
        deployment.prepare()
        deployment.apply(deployment.content("1.0.0"))
        deployment.wait()
        yield deployment
    finally:
        remove(kubectl, "namespace", namespace)


def _list(items: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _volume(volume: dict[str, Any], suffix: str) -> dict[str, Any]:
    """Return a volume with the ConfigMaps of one version, and data that live with the pod."""
    if volume.get("persistentVolumeClaim", {}).get("claimName") == DATA_CLAIM:
        return {"name": volume["name"], "emptyDir": {}}
    renamed: dict[str, Any] = json.loads(json.dumps(volume))
    for source in renamed.get("projected", {}).get("sources", ()):
        if "configMap" in source:
            source["configMap"]["name"] += suffix
    return renamed
