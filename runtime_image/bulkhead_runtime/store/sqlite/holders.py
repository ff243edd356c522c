"""Tells which processes on this volume are alive, so that a dead one's sessions are free at once.

Every process holds an advisory lock on a file of its own; the kernel releases it with the process,
however that ends. Sharing the volume on one node, as the embedded store does, makes it exact:
no clock, no heartbeat, no write while nothing happens.
"""

import fcntl
import secrets
from pathlib import Path

_FOLDER = "holders"


class Holder:
    """This process among those that share the volume."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / _FOLDER
        self._folder.mkdir(exist_ok=True)
        self.id = secrets.token_hex(8)
        self._path = self._folder / self.id
        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def alive(self, holder_id: str) -> bool:
        """Tell whether the process of that id still runs."""
        if holder_id == self.id:
            return True
        try:
            with (self._folder / holder_id).open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def remove_dead(self) -> None:
        """Delete what dead processes left."""
        for path in self._folder.iterdir():
            if not self.alive(path.name):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave; from now on this process counts as dead."""
        self._path.unlink(missing_ok=True)
        self._file.close()
