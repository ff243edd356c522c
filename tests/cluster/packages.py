"""Debian packages: looked for first, so that a complete machine needs neither network nor root."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import places
from tests.cluster.commands import run_logged
from tests.cluster.locks import held
from tests.cluster.progress import ClusterError

ETCD = ("etcd-server",)
IMAGES = ("buildah", "mmdebstrap")
NODE = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    "ipset",
    "conntrack",
    "iproute2",
    "busybox-static",
    "gcc",
    "libc6-dev",
    # Cilium compiles its BPF programs on the node.
    "clang-19",
    "llvm-19",
    "bpftool",
)

_LOCK_SECONDS = 300
"""How long somebody else's apt-get is waited for."""


def missing(names: Sequence[str]) -> list[str]:
    """Return those of `names` that dpkg does not know as installed."""
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names]
    try:
        result = subprocess.run(query, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ClusterError(
            "This machine has no dpkg.",
            remedy="use a Debian machine, or CLUSTER=kind, or CLUSTER=current.",
        ) from error
    installed = {
        line.split()[0] for line in result.stdout.splitlines() if line.endswith(" installed")
    }
    return [name for name in names if name not in installed]


def ensure(names: Sequence[str]) -> str:
    """Install what is missing; returns what was done in words."""
    wanted = missing(names)
    if not wanted:
        return "already there"
    if os.geteuid() != 0:
        raise ClusterError(
            f"These Debian packages are missing: {' '.join(wanted)}.",
            remedy=f"as root: apt-get install --no-install-recommends {' '.join(wanted)}",
        )
    # Tests that run side by side may want the same package at the same moment.
    with held("packages", waiting="Waiting for packages that are being installed ..."):
        wanted = missing(names)
        if wanted:
            _install(wanted)
    return f"installed {len(wanted)}"


def _install(wanted: Sequence[str]) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    remedy = "see that apt-get reaches a Debian mirror, then run `make up` again."
    log = places.cache() / "logs" / "apt.log"
    apt = ["apt-get", "--option", f"DPkg::Lock::Timeout={_LOCK_SECONDS}"]
    run_logged([*apt, "update"], log, env=env, remedy=remedy)
    with _services_not_started():
        install = [*apt, "install", "--yes", "--no-install-recommends", *wanted]
        run_logged(install, log, env=env, remedy=remedy)


@contextmanager
def _services_not_started() -> Iterator[None]:
    """Keep etcd and containerd of the packages from being started: the cluster runs its own."""
    guard = Path("/usr/sbin/policy-rc.d")
    if guard.exists():
        yield
        return
    guard.write_text("#!/bin/sh\nexit 101\n")
    guard.chmod(0o755)
    try:
        yield
    finally:
        guard.unlink()
