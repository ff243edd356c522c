"""The one node: kubelet and kube-proxy, with everything they write below our own folder."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.cluster import binaries, probes
from tests.cluster.command_lines import DNS_SERVICE_ADDRESS, POD_RANGE
from tests.cluster.identities import Identities
from tests.cluster.kubectl import Kubectl
from tests.cluster.machine import Address, resolver
from tests.cluster.processes import Daemon
from tests.cluster.progress import ClusterError, until

NAME = "bulkhead"
_READY_SECONDS = 120.0
_MOST_PODS = 250
_PROXY_HEALTH = "127.0.0.1:10256"


class Node:
    """kubelet and kube-proxy of the cluster whose state lies in `state`."""

    def __init__(self, state: Path, server: str, address: Address, identities: Identities) -> None:
        self._state = state
        self._server = server
        self._address = address
        self._identities = identities
        self.folder = state / "kubelet"

    def start(self, container_socket: Path) -> None:
        """Start both, or start them again where their configuration changed."""
        self._kubelet(container_socket).start()
        self._proxy().start()

    def wait_until_ready(self, kubectl: Kubectl) -> None:
        """Wait until pods can be put on the node and Services lead to them."""
        kubelet, proxy = (Daemon(name, (), self._state) for name in ("kubelet", "kube-proxy"))

        def ready() -> bool:
            for daemon in (kubelet, proxy):
                if not daemon.running():
                    raise ClusterError(f"{daemon.name} ended by itself.", log=daemon.log)
            if not probes.succeeds(f"http://{_PROXY_HEALTH}/healthz"):
                return False
            arguments = ["wait", "--for=condition=Ready", f"node/{NAME}", "--timeout=10s"]
            return kubectl.succeeds(*arguments)

        until(ready, seconds=_READY_SECONDS, what="The node is ready", log=kubelet.log)

    def _kubelet(self, container_socket: Path) -> Daemon:
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
        path = self._configure("kubelet", configuration)
        argv = (
            str(binaries.path("kubelet")),
            f"--config={path}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={self.folder}",
            f"--hostname-override={NAME}",
            f"--node-ip={self._address.ip}",
        )
        return Daemon("kubelet", argv, self._state)

    def _proxy(self) -> Daemon:
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
            "healthzBindAddress": _PROXY_HEALTH,
            "metricsBindAddress": "127.0.0.1:10249",
            "iptables": {"minSyncPeriod": "100ms"},
            # Settings of the whole machine that one small node does not need.
            "conntrack": {
                "maxPerCore": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        }
        path = self._configure("kube-proxy", configuration)
        argv = (str(binaries.path("kube-proxy")), f"--config={path}")
        return Daemon("kube-proxy", argv, self._state)

    def _configure(self, name: str, configuration: Mapping[str, object]) -> Path:
        path = self._state / f"{name}.yaml"
        content = yaml.safe_dump(configuration, sort_keys=False)
        # kube-proxy ends when its file is written, even with what was in it before, and the
        # kubelet reads it only once: neither may run while its file changes.
        if not path.exists() or path.read_text() != content:
            Daemon(name, (), self._state).stop()
            path.write_text(content)
        return path
