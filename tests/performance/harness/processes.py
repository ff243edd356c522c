"""Starts what is measured and reads what it cost from /proc: CPU time and memory of the tree."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.performance.harness.rounds import MeasurementError

_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 20.0
_LOG_LINES = 15
# A process counts as idle once a whole look at it costs no more CPU than this.
_IDLE_CPU_SECONDS = 0.01
_IDLE_LOOK_SECONDS = 0.5
_IDLE_LOOKS = 3


class Process:
    """A running program with a log; `pid` is the program's own, with no shell in between."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.pid = popen.pid
        self.log = log
        self._popen = popen

    def running(self) -> bool:
        """Tell whether it has not ended."""
        return self._popen.poll() is None

    def cpu_seconds(self) -> float:
        """Return user and system time of the process, its descendants and those it waited for."""
        return sum(cpu_seconds(pid) for pid in tree(self.pid))

    def uss_mb(self) -> float:
        """Return the MiB of memory that would come free if the process tree ended."""
        return sum(_memory_kb(pid, "Private_") for pid in tree(self.pid)) / 1024

    def own_kb(self) -> int:
        """Return the KiB that the process tree filled itself: USS without pages of files.

        Those come and go as the machine needs memory and as others map the same libraries.
        """
        return sum(_memory_kb(pid, "Anonymous:") for pid in tree(self.pid))

    def open_files(self) -> int:
        """Return how many files and connections the process itself has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def wait_for(self, what: str, check: Callable[[], bool], *, seconds: float = 60) -> None:
        """Poll until `check` holds; raise MeasurementError when the process ends or time is up."""
        deadline = time.monotonic() + seconds
        while not check():
            if not self.running():
                raise MeasurementError(f"{self.name} ended by itself:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise MeasurementError(
                    f"{self.name}: {what} not seen in {seconds:g} s:\n{self.last_words()}"
                )
            time.sleep(0.01)

    def wait_until_idle(self, *, seconds: float = 120) -> None:
        """Wait until the process has stopped computing."""
        deadline = time.monotonic() + seconds
        quiet = 0
        while quiet < _IDLE_LOOKS:
            before = self.cpu_seconds()
            time.sleep(_IDLE_LOOK_SECONDS)
            quiet = quiet + 1 if self.cpu_seconds() - before <= _IDLE_CPU_SECONDS else 0
            if time.monotonic() > deadline:
                raise MeasurementError(f"{self.name} did not become idle in {seconds:g} s")

    def last_words(self) -> str:
        """Return the end of the log."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return "\n".join(f"  | {line}" for line in [str(self.log), *lines])

    def stop(self) -> None:
        """End the process politely, and by force when that takes too long."""
        if self.running():
            self._popen.terminate()
            try:
                self._popen.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._popen.wait()


@contextmanager
def started(
    name: str,
    argv: Sequence[str | Path],
    directory: Path,
    *,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    """Run a program with its output in DIRECTORY/NAME.log until the block ends."""
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / f"{name}.log"
    # The program dies with this process, however that goes; setpriv becomes the program itself.
    command = ["setpriv", "--pdeathsig", "KILL", *(str(part) for part in argv)]
    with log.open("wb") as output:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    process = Process(name, popen, log)
    try:
        yield process
    finally:
        process.stop()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def listens(port: int) -> bool:
    """Tell whether something accepts connections on this port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def tree(root: int) -> list[int]:
    """Return the process and its live descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, ()))
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; empty when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """Return user and system time of one process and those it waited for; 0 when it is gone."""
    fields = _stat(pid)
    return sum(int(field) for field in fields[11:15]) / _TICKS


def _memory_kb(pid: int, kind: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(kind))
