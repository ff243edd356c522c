"""Background processes that outlive the command that started them.

Each has a log and a record of its pid. A pid alone proves nothing after a crash, since another
process may have got it: the record also holds the start time and the boot, and a process counts
as ours only when all three match.
"""

import errno
import hashlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_LOG_LIMIT_BYTES = 20 * 1024 * 1024


@dataclass(frozen=True)
class Daemon:
    """A process kept under HOME/pids/NAME.json with its output in HOME/logs/NAME.log."""

    name: str
    argv: Sequence[str]
    home: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """Return the file that takes what the process prints."""
        return self.home / "logs" / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """Return the file that says which process this is."""
        return self.home / "pids" / f"{self.name}.json"

    def start(self) -> bool:
        """Start it unless it runs with these very arguments; tells whether it was started."""
        if self.running():
            if _read(self.record).get("digest") == self._digest():
                return False
            self.stop()
        self._make_room()
        pid = self._spawn()
        self.record.write_text(
            json.dumps(
                {
                    "pid": pid,
                    "started": start_time(pid),
                    "boot": boot_id(),
                    "digest": self._digest(),
                }
            )
        )
        return True

    def pid(self) -> int | None:
        """Return the pid of the running process, None when it does not run."""
        return recorded_pid(self.record)

    def running(self) -> bool:
        """Tell whether the recorded process is alive and still the one that was started."""
        return self.pid() is not None

    def stop(self, *, grace: float = 10.0) -> None:
        """Ask it to end, then make it end; does nothing when it does not run."""
        stop_recorded(self.record, grace=grace)

    def kill(self) -> None:
        """End it without a chance to clean up, as a crash would."""
        stop_recorded(self.record, grace=0)

    def _digest(self) -> str:
        told = json.dumps([list(self.argv), dict(self.env)], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def _make_room(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.record.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))

    def _spawn(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.posix_spawnp(
            self.argv[0],
            list(self.argv),
            {**os.environ, **self.env},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )


def boot_id() -> str:
    """Return what changes with every start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Return when a process began, in ticks since boot; None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may itself contain spaces and parentheses.
    after_name = stat.rpartition(")")[2].split()
    if after_name[0] in {"Z", "X"} and not _threads_left(pid):
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return None
    return int(after_name[19])


def _threads_left(pid: int) -> bool:
    """Tell whether a killed process still holds its ports through threads that are ending."""
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir()) > 1
    except FileNotFoundError:
        return False


def recorded_pid(record: Path) -> int | None:
    """Return the pid in a record if that very process is alive."""
    known = _read(record)
    pid = known.get("pid")
    if not isinstance(pid, int) or known.get("boot") != boot_id():
        return None
    started = start_time(pid)
    return pid if started is not None and started == known.get("started") else None


def stop_recorded(record: Path, *, grace: float) -> None:
    """End the process of a record, by SIGTERM for `grace` seconds and then by SIGKILL."""
    pid = recorded_pid(record)
    if pid is not None and grace > 0:
        _signal(pid, signal.SIGTERM)
        _gone_within(record, grace)
    pid = recorded_pid(record)
    if pid is not None:
        _signal(pid, signal.SIGKILL)
        _gone_within(record, 10.0)
    record.unlink(missing_ok=True)


def records(home: Path) -> list[Path]:
    """Return the records of all processes that were started under `home`."""
    return sorted((home / "pids").glob("*.json"))


def _gone_within(record: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while recorded_pid(record) is not None and time.monotonic() < deadline:
        time.sleep(0.02)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise


def _read(record: Path) -> dict[str, object]:
    # A record cut short by a crash of the machine says as little as one that is not there.
    try:
        known = json.loads(record.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return known if isinstance(known, dict) else {}
