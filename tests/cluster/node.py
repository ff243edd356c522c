"""The one node: kubelet and kube-proxy, with everything they write below our own folder."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.cluster import binaries
from tests.cluster.command_lines import DNS_SERVICE_ADDRESS, POD_RANGE
from tests.cluster.identities import Identities
from tests.cluster.kubectl import Kubectl
from tests.cluster.machine import Address, resolver
from tests.cluster.processes import Daemon
from tests.cluster.progress import ClusterError, until

NAME = "bulkhead"
_READY_SECONDS = 120.0
_MOST_PODS = 250


class Node:
    """kubelet and kube-proxy of the cluster whose state lies in `state`."""

    def __init__(self, state: Path, server: str, address: Address, identities: Identities) -> None:
        self._state = state
        self._server = server
        self._address = address
        self._identities = identities
        self.folder = state / "kubelet"

    def start(self, container_socket: Path) -> None:
        """Start both; neither waits for the network."""
        self.kubelet(container_socket).start()
        self.proxy().start()

    def wait_until_ready(self, kubectl: Kubectl) -> None:
        """Wait until pods can be put on the node."""
        kubelet = Daemon("kubelet", (), self._state)

        def ready() -> bool:
            if not kubelet.running():
                raise ClusterError("kubelet ended by itself.", log=kubelet.log)
            arguments = ["wait", "--for=condition=Ready", f"node/{NAME}", "--timeout=10s"]
            return kubectl.succeeds(*arguments)

        until(ready, seconds=_READY_SECONDS, what="The node is ready", log=kubelet.log)

    def kubelet(self, container_socket: Path) -> Daemon:
        """Return the kubelet's process; writes its configuration."""
        user = f"system:node:{NAME}"
        serving = self._identities.authority.issue(
            "kubelet", user, groups=["system:nodes"], hosts=[NAME, self._address.ip]
        )
        kubeconfig = self._identities.kubeconfig(
            self._state / "kubelet.conf", self._server, serving
        )
        configuration = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self._address.ip,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self._identities.authority.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(serving.certificate),
            "tlsPrivateKeyFile": str(serving.key),
            "containerRuntimeEndpoint": f"unix://{container_socket}",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [DNS_SERVICE_ADDRESS],
            "clusterDomain": "cluster.local",
            "resolvConf": str(resolver()),
            "maxPods": _MOST_PODS,
            # A laptop's full disk or memory must not evict what one is just looking at.
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "podLogsDir": str(self._state / "pod-logs"),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "healthzBindAddress": "127.0.0.1",
            "serializeImagePulls": False,
        }
        path = self._write("kubelet.yaml", configuration)
        argv = (
            str(binaries.path("kubelet")),
            f"--config={path}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={self.folder}",
            f"--hostname-override={NAME}",
            f"--node-ip={self._address.ip}",
        )
        return Daemon("kubelet", argv, self._state)

    def proxy(self) -> Daemon:
        """Return kube-proxy's process; writes its configuration."""
        pair = self._identities.authority.issue("kube-proxy", "system:kube-proxy")
        kubeconfig = self._identities.kubeconfig(
            self._state / "kube-proxy.conf", self._server, pair
        )
        configuration = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "clusterCIDR": POD_RANGE,
            "hostnameOverride": NAME,
            "bindAddress": self._address.ip,
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "iptables": {"minSyncPeriod": "100ms"},
            # Settings of the whole machine that one small node does not need.
            "conntrack": {
                "maxPerCore": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        }
        path = self._write("kube-proxy.yaml", configuration)
        argv = (str(binaries.path("kube-proxy")), f"--config={path}")
        return Daemon("kube-proxy", argv, self._state)

    def _write(self, name: str, configuration: Mapping[str, object]) -> Path:
        path = self._state / name
        content = yaml.safe_dump(configuration, sort_keys=False)
        # kube-proxy ends when its file is written, even with what was in it before.
        if not path.exists() or path.read_text() != content:
            path.write_text(content)
        return path
