"""What the cluster must know of the machine that it runs on, and what it changes there."""

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.commands import run, succeeds
from tests.cluster.progress import ClusterError

_SERVICES_CHAIN = "BULKHEAD-SERVICES"
# What kubelet, kube-proxy and Cilium are known to set for the whole machine. Cilium's two kernel
# settings are not among them: it is started where it can only change copies (see network.py).
_SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/conf/default/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/default/rp_filter",
    "net/ipv4/fib_multipath_use_neigh",
    "net/ipv4/ip_early_demux",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
    "net/ipv6/conf/all/disable_ipv6",
    "net/core/bpf_jit_enable",
    "net/core/fb_tunnels_only_for_init_net",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


@dataclass(frozen=True)
class Address:
    """The machine's way out: the interface of the default route and its address."""

    device: str
    ip: str


def require_root() -> None:
    """Refuse early where the node could not be made anyway."""
    if os.geteuid() != 0:
        raise ClusterError(
            "The local cluster needs root: it makes containers, network interfaces and mounts.",
            remedy="run it as root, or use CLUSTER=kind or CLUSTER=current.",
        )


def address() -> Address:
    """Return the address that the node and the API server use."""
    routes = json.loads(run(["ip", "-json", "-4", "route", "show", "default"]) or "[]")
    if not routes:
        raise ClusterError(
            "This machine has no default route, so the node would have no address.",
            remedy="give it one, for example: ip route add default via GATEWAY",
        )
    device = str(routes[0]["dev"])
    links = json.loads(run(["ip", "-json", "-4", "address", "show", "dev", device]))
    for entry in links[0]["addr_info"]:
        if entry.get("scope") == "global":
            return Address(device, str(entry["local"]))
    raise ClusterError(f"The interface {device} of the default route has no IPv4 address.")


def resolver() -> Path:
    """Return the resolv.conf that makes sense inside a pod, where 127.0.0.53 is the pod itself."""
    behind_systemd = Path("/run/systemd/resolve/resolv.conf")
    return behind_systemd if behind_systemd.exists() else Path("/etc/resolv.conf")


def require_free_ports(ports: dict[int, str]) -> None:
    """Refuse to start beside something that already listens where a part of ours must."""
    taken = [f"{port} ({what})" for port, what in ports.items() if _listened_on(port)]
    if taken:
        raise ClusterError(
            f"Another program listens on the ports {', '.join(taken)}.",
            remedy="stop it (`ss -ltnp` shows which it is), or use CLUSTER=kind or "
            "CLUSTER=current.",
        )


def _listened_on(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return True
    return False


def remember_settings(state: Path) -> None:
    """Write down the kernel settings as they are before the cluster changes any of them."""
    memory = state / "sysctls.json"
    if memory.exists():
        return
    values = {name: _read_setting(name) for name in _SYSCTLS}
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps({key: value for key, value in values.items() if value}))


def restore_settings(state: Path) -> None:
    """Put the kernel settings back that differ from what was written down."""
    memory = state / "sysctls.json"
    if not memory.exists():
        return
    for name, value in json.loads(memory.read_text()).items():
        if _read_setting(name) not in {None, value}:
            Path("/proc/sys", name).write_text(value)


def allow_forwarding() -> None:
    """Let packets pass between pods and the world."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def refuse_unrouted_services(addresses: str) -> None:
    """Refuse what is sent to a Service that kube-proxy has written no rules for, yet or any more.

    Untranslated it would leave for whatever network the machine is on, which may even answer.
    """
    if not succeeds(["iptables", "-w", "-n", "-L", _SERVICES_CHAIN]):
        run(["iptables", "-w", "-N", _SERVICES_CHAIN])
        run(["iptables", "-w", "-A", _SERVICES_CHAIN, "-j", "REJECT"])
    for chain in ("OUTPUT", "FORWARD"):
        rule = [chain, "-d", addresses, "-j", _SERVICES_CHAIN]
        if not succeeds(["iptables", "-w", "-C", *rule]):
            run(["iptables", "-w", "-A", *rule])


def _read_setting(name: str) -> str | None:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return None
