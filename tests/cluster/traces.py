"""What a cluster leaves in the kernel and in shared folders, found and removed kind by kind.

Each kind has a function that finds and one that removes; `leftovers` calls the former, `down` and
the recovery after a crash call the latter. Nothing is taken for ours by a guess: processes and
mounts by our own folder, cgroups, chains and interfaces by the names that only a kubelet,
kube-proxy and Cilium give.
"""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from tests.cluster import processes
from tests.cluster.commands import run, succeeds
from tests.cluster.progress import until

_CGROUPS = Path("/sys/fs/cgroup")
_SHIM_SOCKETS = Path("/run/containerd/s")
_LOG_LINKS = Path("/var/log/containers")
_CNI_RESULTS = Path("/var/lib/cni/results")
_CHAIN = re.compile(r"\b(?:BULKHEAD-|KUBE-|CILIUM_|OLD_CILIUM_|CNI-)")
_INTERFACE = re.compile(r"^(?:cilium_[a-z0-9]+|lxc[0-9a-f]{12}|lxc_health)$")
_IP_SET = re.compile(r"^(?:cilium_|KUBE-)")
_IPTABLES = ("iptables", "ip6tables")
# Routing tables and marks of Cilium's own.
_RULE_MARKS = ("0x200/0xf00", "0x80/0xf00")
_GONE_SECONDS = 10.0
_PROGRAMS = frozenset(
    {
        "cilium-agent",
        "containerd",
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubelet",
        "local-path-provisioner",
        "unshare",
    }
)


def pod_processes(state: Path) -> set[int]:
    """Return shims of our containerd and everything that runs in a pod's cgroup."""
    found = {
        pid for pid, line in _command_lines() if "containerd-shim" in line and str(state) in line
    }
    for folder in _pod_cgroups():
        for listing in folder.rglob("cgroup.procs"):
            with suppress(OSError):
                found.update(int(pid) for pid in listing.read_text().split())
    return found


def daemons(state: Path) -> set[int]:
    """Return programs of the cluster that were started on our state folder.

    Programs of a person who looks into it, such as kubectl or tail, are not among them.
    """
    return {
        pid
        for pid, line in _command_lines()
        if str(state) in line and Path(line.split(" ", 1)[0]).name in _PROGRAMS
    }


def end_processes(pids: Callable[[], set[int]]) -> None:
    """Kill all those processes, and those that they had started meanwhile."""

    def gone() -> bool:
        left = pids()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    until(gone, seconds=_GONE_SECONDS, what="The processes of the cluster are gone")


def pod_cgroups() -> list[Path]:
    """Return the cgroups that a kubelet made."""
    return _pod_cgroups()


def remove_pod_cgroups() -> None:
    """Remove them; a cgroup that still holds a process of somebody's refuses."""
    for top in _pod_cgroups():
        folders = [entry for entry in top.rglob("*") if entry.is_dir()]
        for folder in (*sorted(folders, key=lambda entry: -len(entry.parts)), top):
            with suppress(OSError):
                folder.rmdir()


def interfaces() -> list[str]:
    """Return the network interfaces that Cilium made."""
    return [name for name in _links() if _INTERFACE.match(name)]


def remove_interfaces() -> None:
    """Remove them; the other end of a pair goes with the first."""
    for name in interfaces():
        succeeds(["ip", "link", "delete", name])


def filters() -> list[str]:
    """Return the interfaces on whose traffic a BPF program of Cilium's looks."""
    return [
        name
        for name in _links()
        if any(
            "cil_" in run(["tc", "filter", "show", "dev", name, way])
            for way in ("ingress", "egress")
        )
    ]


def remove_filters() -> None:
    """Take Cilium's programs off the interfaces that stay."""
    for name in filters():
        succeeds(["tc", "qdisc", "delete", "dev", name, "clsact"])


def rules() -> list[str]:
    """Return all iptables chains and rules that speak of a chain of ours."""
    return [
        f"{command}: {line}"
        for command in _IPTABLES
        if shutil.which(command)
        for line in run([f"{command}-save"]).splitlines()
        if _CHAIN.search(line)
    ]


def remove_rules() -> None:
    """Write all tables back without our chains, in one atomic step each."""
    for command in _IPTABLES:
        if shutil.which(command) is None:
            continue
        there = run([f"{command}-save"]).splitlines()
        kept = [line for line in there if not _CHAIN.search(line)]
        if kept != there:
            run([f"{command}-restore"], stdin="\n".join(kept) + "\n")


def ip_sets() -> list[str]:
    """Return the sets of addresses that the rules had used."""
    if shutil.which("ipset") is None:
        return []
    return [name for name in run(["ipset", "list", "-name"]).split() if _IP_SET.match(name)]


def remove_ip_sets() -> None:
    """Remove them; the rules must be gone first."""
    for name in ip_sets():
        succeeds(["ipset", "destroy", name])


def routing_rules() -> list[str]:
    """Return the routing rules for packets that Cilium marked."""
    lines = run(["ip", "rule", "show"]).splitlines() if shutil.which("ip") else []
    return [line for line in lines if any(mark in line for mark in _RULE_MARKS)]


def remove_routing_rules() -> None:
    """Remove them with the tables that they lead to."""
    for line in routing_rules():
        succeeds(["ip", "rule", "delete", "priority", line.split(":")[0]])
        succeeds(["ip", "route", "flush", "table", line.rsplit("lookup", 1)[1].strip()])


def shared_files(state: Path) -> list[Path]:
    """Return files of ours in folders that containerd and kubelet fixed in their code."""
    links = [link for link in _entries(_LOG_LINKS) if _leads_below(link, state)]
    results = [path for path in _entries(_CNI_RESULTS) if str(state) in path.read_text()]
    return [*links, *results, *_shim_sockets(state)]


def remove_shared_files(state: Path) -> None:
    """Remove them, and the folders where that leaves them empty."""
    for path in shared_files(state):
        path.unlink(missing_ok=True)
    plugins = Path("/var/lib/kubelet/device-plugins")
    for name in ("kubelet.sock", "kubelet_internal_checkpoint", "DEPRECATION"):
        (plugins / name).unlink(missing_ok=True)
    shared = (_LOG_LINKS, _CNI_RESULTS, _SHIM_SOCKETS, plugins)
    for folder in (*shared, *(path.parent for path in shared[1:])):
        with suppress(OSError):
            folder.rmdir()


def _shim_sockets(state: Path) -> list[Path]:
    bundles = state / "containerd" / "state" / "io.containerd.runtime.v2.task"
    sockets = []
    for address in bundles.glob("*/*/address"):
        with suppress(OSError):
            sockets.append(Path(address.read_text().removeprefix("unix://")))
    return [socket for socket in sockets if socket.exists()]


def _pod_cgroups() -> list[Path]:
    return [
        folder
        for parent in (_CGROUPS, *_entries(_CGROUPS))
        if (folder := parent / "kubepods").is_dir()
    ]


def _command_lines() -> Iterable[tuple[int, str]]:
    for entry in _entries(Path("/proc")):
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        with suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if line and processes.start_time(pid) is not None:
                yield pid, line


def _links() -> list[str]:
    if shutil.which("ip") is None:
        return []
    return [str(link["ifname"]) for link in json.loads(run(["ip", "-json", "link", "show"]))]


def _leads_below(link: Path, state: Path) -> bool:
    return link.is_symlink() and link.readlink().is_relative_to(state)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
