"""containerd of the cluster's own: own socket, folders and configuration.

Whoever uses containerd on this machine for something else is not disturbed, and everything that
the pods leave behind lies below folders that are known to be ours.
"""

import os
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.cluster import places, versions
from tests.cluster.commands import run, succeeds
from tests.cluster.images import Image
from tests.cluster.processes import Daemon
from tests.cluster.progress import ClusterError, until

_NAMESPACE = "k8s.io"
_READY_SECONDS = 30.0

_CONFIGURATION = """\
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.zfs",
                    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs",
                    "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# Machines without CAP_SYS_RESOURCE cannot lower an out-of-memory score; every pod would fail.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
enable_selinux = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni}/bin"
conf_dir = "{cni}/conf"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{state}/runc"
"""


class Containers:
    """The containerd under STATE; its store of images lies in the cache and outlives `down`."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self.folder = state / "containerd"
        self.socket = self.folder / "containerd.sock"
        self.cni = state / "cni"
        self._configuration = self.folder / "config.toml"

    @property
    def store(self) -> Path:
        """Return the folder of images and snapshots."""
        return places.cache() / "containerd"

    @property
    def daemon(self) -> Daemon:
        """Return containerd's process."""
        argv = ("containerd", "--config", str(self._configuration), "--log-level", "warn")
        env = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        return Daemon("containerd", argv, self._state, env)

    def start(self) -> None:
        """Start containerd and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = _CONFIGURATION.format(
            root=self.store,
            state=self.folder / "state",
            socket=self.socket,
            cni=self.cni,
            pause=versions.PAUSE_IMAGE,
        )
        tomllib.loads(content)
        self._configuration.write_text(content)
        daemon = self.daemon
        daemon.start()
        until(self._answers, seconds=_READY_SECONDS, what="containerd answers", log=daemon.log)

    def load(self, images: Sequence[Image]) -> list[Image]:
        """Import those images that are not there yet and return them."""
        there = set(self._ctr("images", "list", "--quiet").split())
        new = [image for image in images if image.reference not in there]
        for image in new:
            self._ctr("images", "import", str(image.archive))
        if new:
            self._forget_old(there, images)
        return new

    def _forget_old(self, there: Iterable[str], images: Sequence[Image]) -> None:
        """Remove earlier builds whose archives the cache gave up, unless a pod uses them."""
        repositories = {image.repository for image in images}
        lines = self._ctr("containers", "list").splitlines()[1:]
        used = {field for line in lines for field in line.split()}
        for reference in set(there) - used:
            repository, _, tag = reference.rpartition(":")
            if repository in repositories and not Image(repository, tag).archive.exists():
                self._ctr("images", "rm", reference)

    def forget_pods(self) -> None:
        """End and remove every container, quickly and without asking the network."""
        for arguments in (("tasks", "list"), ("containers", "list")):
            names = self._ctr(*arguments, "--quiet").split()
            if names:
                force = ["--force"] if arguments[0] == "tasks" else []
                succeeds(self._argv(arguments[0], "rm", *force, *names))

    def _answers(self) -> bool:
        if not self.daemon.running():
            raise ClusterError("containerd ended by itself.", log=self.daemon.log)
        return self.socket.exists() and succeeds(self._argv("version"), timeout=5)

    def _argv(self, *args: str) -> list[str]:
        return ["ctr", "--address", str(self.socket), "--namespace", _NAMESPACE, *args]

    def _ctr(self, *args: str) -> str:
        return run(self._argv(*args))
