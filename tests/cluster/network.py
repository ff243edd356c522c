"""Cilium: pod network and NetworkPolicy that is really enforced.

One agent process and one CNI binary; no operator, no Envoy, no image. kube-proxy runs beside it
for Services.
"""

import json
import shutil
from pathlib import Path

from tests.cluster import binaries, mounts, probes
from tests.cluster.command_lines import POD_RANGE
from tests.cluster.machine import Address
from tests.cluster.node import NAME
from tests.cluster.processes import Daemon
from tests.cluster.progress import ClusterError, until

# Fixed in Cilium: its CNI binary keeps deletions there that the agent has not yet seen.
RUNTIME_FOLDER = Path("/run/cilium")
_DEBIAN_PLUGINS = Path("/usr/lib/cni")
_READY_SECONDS = 180.0
_HEALTH_PORT = 9879

# The agent runs in a mount namespace of its own for two reasons. It sets two kernel settings that
# cannot be set back (unprivileged_bpf_disabled is one-way), so it gets copies of them to write to.
# And it does not start where the kernel has no modules (no /proc/modules), so there it sees a
# /proc made of links to the real one with an empty file of that name.
_LAUNCH = """\
#!/bin/sh
set -e
work=$1
shift
mount --make-rprivate /
for name in unprivileged_bpf_disabled timer_migration; do
  if [ -e /proc/sys/kernel/$name ]; then
    cat /proc/sys/kernel/$name >"$work/$name"
    mount --bind "$work/$name" /proc/sys/kernel/$name
  fi
done
if [ ! -e /proc/modules ]; then
  mkdir -p "$work/proc"
  mount -t tmpfs tmpfs "$work/proc"
  mkdir "$work/proc/.real"
  mount --rbind /proc "$work/proc/.real"
  for entry in /proc/*; do
    name=${entry#/proc/}
    case $name in
      [0-9]*) ;;
      *) ln -s ".real/$name" "$work/proc/$name" ;;
    esac
  done
  ln -s .real/1 "$work/proc/1"
  ln -s ".real/$$" "$work/proc/$$"
  : >"$work/proc/modules"
  mount --rbind "$work/proc" /proc
fi
exec "$@"
"""
_CLANG = '#!/bin/sh\nexec /usr/bin/clang-19 "$@" -Wno-error\n'


class Network:
    """The Cilium agent of the cluster whose state lies in `state`."""

    def __init__(self, state: Path, address: Address) -> None:
        self._state = state
        self._address = address
        self.folder = state / "cilium"
        self.cni = state / "cni"

    def definitions(self) -> str:
        """Return Cilium's own resource definitions as YAML."""
        files = sorted((binaries.folder("cilium-agent") / "crds").rglob("*.yaml"))
        return "\n---\n".join(path.read_text() for path in files)

    def start(self, kubeconfig: Path) -> None:
        """Start the agent; the node turns ready once it has answered."""
        self._lay_out()
        mounts.ensure("bpf", self.folder / "bpf")
        mounts.ensure("cgroup2", self.folder / "cgroup2")
        self.agent(kubeconfig).start()

    def wait_until_ready(self, kubeconfig: Path) -> None:
        """Wait until the agent is there for the CNI binary; only then is the network announced."""
        agent = self.agent(kubeconfig)
        socket = RUNTIME_FOLDER / "cilium.sock"

        def ready() -> bool:
            if not agent.running():
                raise ClusterError(
                    "The Cilium agent ended by itself.",
                    log=agent.log,
                    remedy="a kernel of 4.19 or later with BPF is needed; elsewhere use "
                    "CLUSTER=kind or CLUSTER=current.",
                )
            return socket.exists() and _healthy()

        until(ready, seconds=_READY_SECONDS, what="Cilium is ready", log=agent.log)
        self._announce()

    def agent(self, kubeconfig: Path) -> Daemon:
        """Return the agent's process."""
        flags = (
            f"--k8s-kubeconfig-path={kubeconfig}",
            "--ipam=kubernetes",
            "--k8s-require-ipv4-pod-cidr=true",
            "--enable-ipv6=false",
            "--routing-mode=native",
            f"--ipv4-native-routing-cidr={POD_RANGE}",
            "--enable-ipv4-masquerade=true",
            "--kube-proxy-replacement=false",
            f"--devices={self._address.device}",
            "--enable-l7-proxy=false",
            "--enable-hubble=false",
            "--enable-health-checking=false",
            "--enable-endpoint-health-checking=false",
            "--install-iptables-rules=true",
            "--policy-cidr-match-mode=nodes",
            "--allow-localhost=always",
            "--cni-exclusive=false",
            "--enable-bandwidth-manager=false",
            "--disable-envoy-version-check=true",
            "--identity-allocation-mode=crd",
            "--cluster-name=default",
            "--cluster-id=0",
            f"--agent-health-port={_HEALTH_PORT}",
            f"--lib-dir={self.folder / 'lib'}",
            f"--bpf-root={self.folder / 'bpf'}",
            f"--cgroup-root={self.folder / 'cgroup2'}",
        )
        launch = self.folder / "launch"
        argv = ("unshare", "--mount", str(launch), str(self.folder / "private"))
        path = f"{self.folder / 'tools'}:/usr/sbin:/usr/bin:/sbin:/bin"
        env = {"K8S_NODE_NAME": NAME, "PATH": path}
        program = str(binaries.path("cilium-agent"))
        return Daemon("cilium-agent", (*argv, program, *flags), self._state, env)

    def _lay_out(self) -> None:
        for name in ("lib", "private", "tools"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        _link(self.folder / "lib" / "bpf", binaries.folder("cilium-agent") / "bpf")
        for path, content in (
            (self.folder / "launch", _LAUNCH),
            (self.folder / "tools" / "clang", _CLANG),
        ):
            path.write_text(content)
            path.chmod(0o755)
        plugins = self.cni / "bin"
        plugins.mkdir(parents=True, exist_ok=True)
        (self.cni / "conf").mkdir(exist_ok=True)
        _link(plugins / "loopback", _DEBIAN_PLUGINS / "loopback")
        _link(plugins / "cilium-cni", binaries.path("cilium-cni"))

    def _announce(self) -> None:
        content = {"cniVersion": "0.3.1", "name": "cilium", "type": "cilium-cni"}
        (self.cni / "conf" / "05-cilium.conf").write_text(json.dumps(content))


def forget_runtime() -> None:
    """Remove what the agent kept in its fixed folder."""
    shutil.rmtree(RUNTIME_FOLDER, ignore_errors=True)


def withdraw(state: Path) -> None:
    """Let no pod be made before the next agent is there."""
    (state / "cni" / "conf" / "05-cilium.conf").unlink(missing_ok=True)


def _link(path: Path, target: Path) -> None:
    if not path.is_symlink() or path.readlink() != target:
        path.unlink(missing_ok=True)
        path.symlink_to(target)


def _healthy() -> bool:
    return probes.succeeds(f"http://127.0.0.1:{_HEALTH_PORT}/healthz", headers={"brief": "true"})
