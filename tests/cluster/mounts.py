"""Mounts that the cluster makes, and the way to be rid of all of them."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.commands import run


@dataclass(frozen=True)
class Mount:
    """One line of the mount table."""

    target: Path
    kind: str


def table() -> list[Mount]:
    """Return all mounts of this mount namespace, in the order in which they were made."""
    mounts = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        front, _, back = line.partition(" - ")
        # The kernel writes a space in a path as \040.
        target = front.split()[4].encode().decode("unicode_escape")
        mounts.append(Mount(Path(target), back.split()[0]))
    return mounts


def below(folder: Path) -> list[Mount]:
    """Return the mounts at or below a folder."""
    return [mount for mount in table() if mount.target.is_relative_to(folder)]


def ensure(kind: str, target: Path) -> None:
    """Mount a file system of the kernel's own on a folder, unless it is there."""
    if any(mount.target == target and mount.kind == kind for mount in table()):
        return
    target.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", kind, kind, target])


def remove_below(folder: Path) -> None:
    """Unmount everything at or below a folder, the newest first; what is busy is detached."""
    for mount in reversed(below(folder)):
        for options in ([], ["-l"]):
            argv = ["umount", *options, str(mount.target)]
            if subprocess.run(argv, capture_output=True, check=False).returncode == 0:
                break
