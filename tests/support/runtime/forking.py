"""Starts runtime processes by forking one that has imported everything, for tests of hundreds.

with Forks() as forks:
    place.process(start=forks.start, module="tests.support.runtime.dying_runtime")
"""

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
from typing import IO, Any, Self

_IMPORTED = (
    "tests.support.runtime.dying_runtime",
    "bulkhead_runtime.store.sqlite",
    "bulkhead_runtime.store.postgres.opening",
    "bulkhead_runtime.store.redis.store",
    "bulkhead_runtime.api.rest.app",
    "bulkhead_runtime.models.fast_lane.client",
)


class ForkedProcess:
    """As much of `subprocess.Popen` as a runtime process needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return when it has ended; raise `TimeoutError` where it has not within the seconds."""
        if self._wait(timeout) is None:
            raise TimeoutError
        return 0

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._ended, number)

    def _wait(self, seconds: float | None) -> int | None:
        ended, _, _ = select.select([self._ended], [], [], seconds)
        return 0 if ended else None


class Forks:
    """One process from which all others are forked."""

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        self._server.communicate()

    def start(self, module: str, variables: dict[str, str], log: IO[bytes]) -> ForkedProcess:
        """Run a module's `main` with this environment and standard error."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        order = {"module": module, "environment": variables, "log": log.name}
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return ForkedProcess(int(self._server.stdout.readline()))


def _become(order: dict[str, Any]) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(order["environment"])
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND)
    for target, source in ((0, nothing), (1, nothing), (2, log)):
        os.dup2(source, target)
    ended: int = importlib.import_module(order["module"]).main()
    return ended


def main() -> None:
    """Fork for every order on standard input until it closes; answer with process ids."""
    for name in _IMPORTED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(_become(json.loads(line)))
        print(pid, flush=True)


if __name__ == "__main__":
    main()
