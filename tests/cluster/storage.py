"""The default StorageClass: folders of the node, made by local-path-provisioner."""

import json
from pathlib import Path

from tests.cluster import binaries, places, versions
from tests.cluster.kubectl import Kubectl
from tests.cluster.processes import Daemon

_NAMESPACE = "local-path-storage"
_PROVISIONER = "rancher.io/local-path"


class Storage:
    """The provisioner of the cluster whose state lies in `state`."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self.volumes = state / "volumes"

    def manifests(self) -> str:
        """Return namespace, StorageClass and the provisioner's configuration as YAML."""
        return (places.MANIFESTS / "storage.yaml").read_text()

    def start(self, kubectl: Kubectl) -> None:
        """Start the provisioner as a process of the machine."""
        self.volumes.mkdir(parents=True, exist_ok=True)
        paths = [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [str(self.volumes)]}]
        configuration = self._state / "local-path.json"
        configuration.write_text(json.dumps({"nodePathMap": paths}))
        argv = (
            str(binaries.path("local-path-provisioner")),
            "start",
            f"--kubeconfig={kubectl.kubeconfig}",
            f"--config={configuration}",
            f"--namespace={_NAMESPACE}",
            f"--provisioner-name={_PROVISIONER}",
            f"--helper-image={versions.BUSYBOX_IMAGE}",
            "--configmap-name=local-path-config",
        )
        env = {"POD_NAMESPACE": _NAMESPACE}
        Daemon("local-path-provisioner", argv, self._state, env).start()
