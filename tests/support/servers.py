"""Real servers of Debian packages for tests: on free ports, in folders of their own.

A server dies with the process that started it, however that ends.
"""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.cluster import packages
from tests.support.ports import free_port

_START_SECONDS = 90.0
_STOP_SECONDS = 60.0


def binary(name: str, package: str, folders: str) -> Path:
    """Return a program, newest version first, installing its Debian package when it is missing."""
    for _ in range(2):
        found = sorted(Path("/").glob(f"{folders}/{name}"))
        if found:
            return found[-1]
        packages.ensure((package,))
    raise FileNotFoundError(f"package {package} has no {name} under /{folders}")


class Server:
    """A program that listens on a port; `user` is who runs it where root may not."""

    def __init__(self, name: str, *, user: str) -> None:
        self.name = name
        self.port = free_port()
        self._user = user if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix=f"bulkhead-{name}-"))
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self._popen: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    @property
    def pid(self) -> int:
        """Return the process's id; fails while nothing runs."""
        assert self._popen is not None, f"{self.name} does not run"
        return self._popen.pid

    def run(self, argv: Sequence[str | Path]) -> None:
        """Run a program to its end as the server's user; fail with what it said."""
        done = subprocess.run(self._as_user(argv), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv[0]}: {done.stdout}{done.stderr}"

    def launch(self, argv: Sequence[str | Path], ready: Callable[[], bool]) -> None:
        """Start the program and return once it is ready."""
        log = self.folder / "log"
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                self._as_user(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        end = time.monotonic() + _START_SECONDS
        while not ready():
            assert self._popen.poll() is None, f"{self.name} ended: {log.read_text()[-2000:]}"
            assert time.monotonic() < end, f"{self.name} not ready: {log.read_text()[-2000:]}"
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        """Send a signal: STOP makes it a server that hangs."""
        os.kill(self.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the program and wait until it has ended."""
        if self._popen is not None:
            self._popen.send_signal(signal.SIGCONT)
            self._popen.send_signal(number)
            self._popen.wait(_STOP_SECONDS)
            self._popen = None

    def close(self) -> None:
        """End the program and remove its folder."""
        atexit.unregister(self.close)
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def listens(self) -> bool:
        """Tell whether the port accepts connections."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def _as_user(self, argv: Sequence[str | Path]) -> list[str]:
        command = ["setpriv", "--pdeathsig", "KILL"]
        if self._user is not None:
            command += [f"--reuid={self._user}", f"--regid={self._user}", "--clear-groups"]
        return [*command, "--", *(str(part) for part in argv)]
