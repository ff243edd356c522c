"""Runs the runtime so that it dies, as by SIGKILL, at the n-th step of its tasks.

Every await of the event loop ends a step, so counting n up from 1 visits every point of a turn at
which a process can die. Steps count from SIGUSR1 on, which is answered by the file `armed`.

    BULKHEAD_TEST_DIE_AT       the step, from 1
    BULKHEAD_TEST_DIRECTORY    where `armed` is written
"""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from bulkhead_runtime.server import serve
from bulkhead_runtime.settings import Settings
from bulkhead_runtime.telemetry import logs


class _Steps:
    def __init__(self, die_at: int, directory: Path) -> None:
        self._die_at = die_at
        self._armed_file = directory / "armed"
        self._armed = False
        self._count = 0

    def arm(self) -> None:
        self._armed = True
        self._armed_file.touch()

    def took(self) -> None:
        if not self._armed:
            return
        self._count += 1
        if self._count == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are counted before they are taken."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], steps: _Steps) -> None:
        self._coroutine = coroutine
        self._steps = steps

    def send(self, value: Any, /) -> Any:
        self._steps.took()
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        self._steps.took()
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self._coroutine.__await__()


async def _serve(settings: Settings, steps: _Steps) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(
        lambda loop, coroutine, **options: asyncio.Task(
            _Counted(coroutine, steps),
            loop=loop,
            **options,
        )
    )
    loop.add_signal_handler(signal.SIGUSR1, steps.arm)
    await serve(settings)


def main() -> int:
    """Serve until the step, or until told to stop."""
    settings = Settings.from_environment()
    steps = _Steps(
        int(os.environ["BULKHEAD_TEST_DIE_AT"]), Path(os.environ["BULKHEAD_TEST_DIRECTORY"])
    )
    logs.configure(
        settings.log_level, organization=settings.organization, runtime_id=settings.runtime_id
    )
    uvloop.run(_serve(settings, steps))
    return 0


if __name__ == "__main__":
    sys.exit(main())
