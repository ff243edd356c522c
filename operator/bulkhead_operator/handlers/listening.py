"""Runs kopf inside our process: settings under which it survives, and an end that is only its own.

`kopf.run_tasks` cancels every task of the event loop that was made after kopf, ours too, so its
root tasks are waited for here instead.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import suppress
from typing import Any, Final

import kopf
from bulkhead_api.names import FINALIZER, GROUP

STOP_SECONDS: Final = 5.0
LONGEST_BACKOFF: Final = 30.0
# Unused without peering, but kopf would look the user's name up, and a container's has none. The
# type that kopf wants is not public.
_IDENTITY: Final[Any] = "bulkhead-operator"


class EndlessBackoffs:
    """Waits without end: kopf ends its watches when its list of waits ends."""

    def __iter__(self) -> Iterator[float]:
        wait = 0.5
        while True:
            yield wait * random.uniform(0.75, 1.25)  # noqa: S311 (spreads load only)
            wait = min(LONGEST_BACKOFF, wait * 2)


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings; finalizer and prefixes are ours from the first release on."""
    kopf_settings = kopf.OperatorSettings()
    kopf_settings.process.ultimate_exiting_timeout = None
    kopf_settings.posting.enabled = False
    kopf_settings.peering.standalone = True
    kopf_settings.scanning.disabled = True
    kopf_settings.watching.server_timeout = 300
    kopf_settings.watching.client_timeout = 360
    kopf_settings.watching.inactivity_timeout = 70
    kopf_settings.watching.connect_timeout = 5
    kopf_settings.queueing.idle_timeout = 0.3
    kopf_settings.execution.max_workers = 1
    kopf_settings.networking.connect_timeout = 5
    kopf_settings.networking.request_timeout = 30
    kopf_settings.networking.error_backoffs = EndlessBackoffs()
    # Never put on anything: kopf takes its finalizer off wherever no handler of its own needs it,
    # and so would take off ours.
    kopf_settings.persistence.finalizer = f"{FINALIZER}-kopf"
    kopf_settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    kopf_settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    return kopf_settings


class Listener:
    """One kopf operator at a time; `restart` ends the running one."""

    def __init__(
        self,
        registry: kopf.OperatorRegistry,
        *,
        reachable: Callable[[], Awaitable[None]],
        on_started: Callable[[], None],
    ) -> None:
        """Wait for `reachable` before each start: kopf never looks again for kinds not served.

        `on_started` is called after kopf took the process's signal handlers, to take them back.
        """
        self._registry = registry
        self._reachable = reachable
        self._on_started = on_started
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run kopf until it ends; raises what ended it."""
        await self._reachable()
        self._stop = asyncio.Event()
        tasks = await kopf.spawn_tasks(
            registry=self._registry,
            settings=settings(),
            identity=_IDENTITY,
            standalone=True,
            clusterwide=True,
            stop_flag=self._stop,
        )
        self._on_started()
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def restart(self) -> None:
        """End the running operator; whoever supervises `run` starts the next."""
        self._stop.set()


async def _ended(tasks: Collection[asyncio.Task[None]]) -> None:
    # The first cancellation asks for a clean end, the second does not wait for it.
    for _ in range(2):
        running = [task for task in tasks if not task.done()]
        if not running:
            return
        for task in running:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait(running, timeout=STOP_SECONDS)
