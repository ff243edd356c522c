"""The real one-node cluster on this machine, made of plain processes.

`up` may be repeated at any time: each step looks at what is there. After a crash, what ran in
containers is swept away and made again from etcd, as after a restart of any Kubernetes node.
"""

import shutil
from pathlib import Path

from tests.cluster import (
    binaries,
    command_lines,
    dns,
    images,
    machine,
    mounts,
    network,
    packages,
    places,
    probes,
    traces,
)
from tests.cluster.command_lines import Audit, Ports
from tests.cluster.containers import Containers
from tests.cluster.identities import Identities
from tests.cluster.images import Image
from tests.cluster.kubectl import Kubectl
from tests.cluster.leftovers import leftovers
from tests.cluster.network import Network
from tests.cluster.node import Node
from tests.cluster.processes import Daemon, recorded_pid, records, stop_recorded
from tests.cluster.progress import ClusterError, Step, say, until
from tests.cluster.storage import Storage

# Not etcd's usual ports: Debian's etcd may run on them for somebody else.
PORTS = Ports(api=6443, etcd=22379, etcd_peer=22380)
_OTHER_PORTS = {10250: "kubelet", 10248: "kubelet", 10256: "kube-proxy", 9879: "Cilium"}
_READY_SECONDS = 60.0
# etcd answers within a second even after a crash; one that does not has lost its data.
_ETCD_SECONDS = 20.0
# The order in which daemons stop: first those that would repair what the others leave.
_STOP_ORDER = (
    "kubelet",
    "kube-proxy",
    "local-path-provisioner",
    "kube-scheduler",
    "kube-controller-manager",
)


class LocalCluster:
    """The cluster whose state lies in one folder, by default the machine's."""

    def __init__(self, state: Path | None = None) -> None:
        self.state = state or places.state()
        self.containers = Containers(self.state)
        self.storage = Storage(self.state)

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig."""
        return self.state / "admin.conf"

    @property
    def audit_log(self) -> Path:
        """Return the API server's log of requests."""
        return self.state / "logs" / "audit.log"

    def steps(self) -> list[Step]:
        """Return what brings the cluster up, in an order that uses both hands."""
        return [
            Step("Debian packages", self._packages),
            Step("state of the last run", self._recover, after=["Debian packages"]),
            Step("Kubernetes binaries", self._kubernetes, after=["Debian packages"]),
            Step("other binaries", self._others, after=["Kubernetes binaries"]),
            Step("containerd", self._containerd, after=["state of the last run"]),
            Step(
                "control plane",
                self._control_plane,
                after=["state of the last run", "Kubernetes binaries"],
            ),
            Step("images of the cluster", self._images, after=["containerd", "other binaries"]),
            Step(
                "resources of the cluster",
                self._resources,
                after=["control plane", "other binaries"],
            ),
            Step(
                "network with NetworkPolicy (Cilium)",
                self._network,
                after=["node", "resources of the cluster"],
            ),
            Step("node", self._node, after=["containerd", "control plane"]),
            Step("storage", self._storage, after=["resources of the cluster"]),
            Step(
                "node Ready, names resolve",
                self._ready,
                after=["network with NetworkPolicy (Cilium)", "images of the cluster", "storage"],
            ),
        ]

    # The last step after which Bulkhead can be installed, and the one after which images load.
    ready = "node Ready, names resolve"
    loadable = "containerd"

    def load(self, built: list[Image]) -> str:
        """Bring images to the node; says how many were new."""
        new = self.containers.load(built)
        return f"{len(new)} imported" if new else "already there"

    def url(self, namespace: str, service: str) -> str:
        """Return the address of a Service: this machine is the node, so ClusterIPs work."""
        found = Kubectl(self.kubeconfig).get("service", service, f"--namespace={namespace}")
        port = found["spec"]["ports"][0]["port"]
        suffix = "" if port == 80 else f":{port}"
        return f"http://{found['spec']['clusterIP']}{suffix}"

    def status(self) -> list[str]:
        """Return one line per process, running or not."""
        lines = []
        for record in records(self.state):
            pid = recorded_pid(record)
            lines.append(f"{record.stem:<26} {f'pid {pid}' if pid else 'not running'}")
        return lines

    def down_steps(self) -> list[Step]:
        """Return what takes the cluster down and leaves nothing."""
        return [
            Step("pods", self._end_pods),
            Step("processes", self._end_daemons, after=["pods"]),
            Step("mounts, rules and interfaces", self._sweep, after=["processes"]),
            Step("state", self._forget, after=["mounts, rules and interfaces"]),
            Step("nothing is left", self._verify, after=["state"]),
        ]

    def _packages(self) -> str:
        machine.require_root()
        return packages.ensure([*packages.NODE, *packages.ETCD, *packages.IMAGES])

    def _kubernetes(self) -> str:
        binaries.ensure(*binaries.KUBERNETES)
        return binaries.RECIPES["kubelet"].version

    def _others(self) -> None:
        binaries.ensure(*binaries.NODE)

    def _recover(self) -> str:
        self.state.mkdir(parents=True, exist_ok=True)
        if not records(self.state):
            ports = {PORTS.api: "kube-apiserver", PORTS.etcd: "etcd", **_OTHER_PORTS}
            machine.require_free_ports(ports)
        machine.remember_settings(self.state)
        if self.containers.daemon.running():
            return "running"
        if not (self.state / "containerd").exists():
            return "none"
        # Without containerd its pods are nobody's: they are ended and made again from etcd.
        for name in ("kubelet", "cilium-agent"):
            self._daemon(name).stop()
        network.withdraw(self.state)
        self._sweep()
        return "crashed, swept"

    def _containerd(self) -> None:
        self.containers.start()

    def _control_plane(self) -> str:
        identities = Identities(self.state)
        address = machine.address()
        self._etcd()
        server = self._server
        identities.kubeconfig(self.kubeconfig, server, identities.administrator())
        identity = identities.control_plane([address.ip])
        policy = self.state / "audit-policy.yaml"
        policy.write_text(command_lines.AUDIT_POLICY)
        audit = Audit(policy, self.audit_log, megabytes=50, backups=2)
        api = self._daemon(
            "kube-apiserver",
            *command_lines.api_server(
                binaries.path("kube-apiserver"),
                PORTS,
                identity,
                audit,
                address=address.ip,
                bind="0.0.0.0",
            ),
        )
        api.start()
        until(self._api_ready, seconds=_READY_SECONDS, what="The API server is ready", log=api.log)
        self._controllers(identities, identity)
        return server

    def _etcd(self) -> None:
        data = self.state / "etcd"
        program = binaries.ensure("etcd")["etcd"]
        line = command_lines.etcd(program, data, PORTS, fsync=False)
        daemon = self._daemon("etcd", *line)
        if not daemon.running():
            machine.require_free_ports({PORTS.etcd: "etcd", PORTS.etcd_peer: "etcd"})
        had_data = data.exists()
        daemon.start()
        try:
            self._wait_for_etcd(daemon)
        except ClusterError:
            if not had_data:
                raise
            daemon.kill()
            self._set_aside(data)
            daemon.start()
            self._wait_for_etcd(daemon)

    def _wait_for_etcd(self, daemon: Daemon) -> None:
        def healthy() -> bool:
            if not daemon.running():
                raise ClusterError("etcd ended by itself.", log=daemon.log)
            return probes.succeeds(f"http://127.0.0.1:{PORTS.etcd}/health")

        until(healthy, seconds=_ETCD_SECONDS, what="etcd answers", log=daemon.log)

    def _set_aside(self, data: Path) -> None:
        """Let the cluster be rebuilt where etcd's data cannot be read; images and binaries stay."""
        broken = data.with_name("etcd.unreadable")
        shutil.rmtree(broken, ignore_errors=True)
        data.replace(broken)
        shutil.rmtree(self.storage.volumes, ignore_errors=True)
        say(f"    etcd cannot read its data: set aside as {broken}, the cluster begins anew")

    def _api_ready(self) -> bool:
        daemon = self._daemon("kube-apiserver")
        if not daemon.running():
            raise ClusterError("kube-apiserver ended by itself.", log=daemon.log)
        authority = Identities(self.state).authority.certificate
        ready = probes.succeeds(f"{self._server}/readyz", authority=authority)
        # It makes its own namespaces a moment after it is ready, this one last.
        return ready and self._kubectl.succeeds("get", "namespace", "default")

    def _controllers(self, identities: Identities, identity: command_lines.Identity) -> None:
        for name, user in (
            ("kube-controller-manager", "system:kube-controller-manager"),
            ("kube-scheduler", "system:kube-scheduler"),
        ):
            pair = identities.authority.issue(name, user)
            kubeconfig = identities.kubeconfig(self.state / f"{name}.conf", self._server, pair)
            program = binaries.path(name)
            if name == "kube-scheduler":
                line = command_lines.scheduler(program, kubeconfig)
            else:
                extra = (
                    "--allocate-node-cidrs=true",
                    f"--cluster-cidr={command_lines.POD_RANGE}",
                )
                line = command_lines.controller_manager(
                    program, PORTS, identity, kubeconfig, extra=extra
                )
            self._daemon(name, *line).start()

    def _images(self) -> str:
        wanted = [images.pause_image(), images.busybox_image(), images.coredns_image()]
        return self.load(wanted)

    def _resources(self) -> None:
        manifests = [self._network_parts().definitions(), self.storage.manifests(), dns.manifests()]
        self._kubectl.apply("\n---\n".join(manifests))

    def _node(self) -> None:
        machine.allow_forwarding()
        machine.refuse_unrouted_services(command_lines.SERVICE_RANGE)
        self._node_parts().start(self.containers.socket)

    def _network(self) -> None:
        parts = self._network_parts()
        parts.start(self.kubeconfig)
        parts.wait_until_ready(self.kubeconfig)

    def _storage(self) -> None:
        self.storage.start(self._kubectl)

    def _ready(self) -> None:
        self._node_parts().wait_until_ready(self._kubectl)
        dns.wait_until_ready(self._kubectl)

    def _end_pods(self) -> None:
        for name in _STOP_ORDER:
            self._daemon(name).kill()
        if self.containers.daemon.running():
            self.containers.forget_pods()

    def _end_daemons(self) -> None:
        # Only containerd has something to finish: its store of images outlives the cluster.
        self.containers.daemon.stop()
        for record in records(self.state):
            stop_recorded(record, grace=0)
        # Those of which no record speaks, for instance because somebody removed the folder.
        traces.end_processes(lambda: traces.daemons(self.state))

    def _sweep(self) -> None:
        traces.end_processes(lambda: traces.pod_processes(self.state))
        traces.remove_interfaces()
        traces.remove_filters()
        traces.remove_rules()
        traces.remove_ip_sets()
        traces.remove_routing_rules()
        traces.remove_shared_files(self.state)
        mounts.remove_below(self.state)
        traces.remove_pod_cgroups()
        network.forget_runtime()
        shutil.rmtree(self.containers.folder / "state", ignore_errors=True)

    def _forget(self) -> None:
        machine.restore_settings(self.state)
        busy = mounts.below(self.state)
        if busy:
            raise ClusterError(
                f"These mounts did not go: {', '.join(str(mount.target) for mount in busy)}.",
                remedy="end what uses them (`fuser -vm MOUNT`), then run `make down` again.",
            )
        shutil.rmtree(self.state, ignore_errors=True)

    def _verify(self) -> None:
        found = leftovers(self.state)
        if found:
            listed = "\n".join(f"  {line}" for line in found)
            raise ClusterError(
                f"Something is left:\n{listed}", remedy="run `make down` again; it resumes."
            )

    @property
    def _server(self) -> str:
        return f"https://127.0.0.1:{PORTS.api}"

    @property
    def _kubectl(self) -> Kubectl:
        return Kubectl(self.kubeconfig)

    def _daemon(self, name: str, *argv: str) -> Daemon:
        return Daemon(name, argv, self.state)

    def _network_parts(self) -> Network:
        return Network(self.state, machine.address())

    def _node_parts(self) -> Node:
        return Node(self.state, self._server, machine.address(), Identities(self.state))
