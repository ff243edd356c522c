"""Runs kopf inside our process: settings under which it survives, and a thread of its own.

When kopf fails it leaves watches running, which `kopf.run_tasks` then ends by cancelling every task
of the event loop, ours too, and it may wait for them for ever. In a loop of its own nothing of ours
is there to be cancelled, nothing of kopf's survives the loop, and kopf does not take the process's
signal handlers.
"""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any, Final

import kopf
import structlog
import uvloop

from bulkhead_api.names import FINALIZER, GROUP

STOP_SECONDS: Final = 10.0
ORPHAN_SECONDS: Final = 3.0
STEP_SECONDS: Final = 1.0
LONGEST_BACKOFF: Final = 30.0

_log = structlog.get_logger(__name__)
# Unused without peering, but kopf would look the user's name up, and a container's user has none.
# Any, because the type that kopf wants is not public.
_IDENTITY: Final[Any] = "bulkhead-operator"


class EndlessBackoffs:
    """Waits without end: kopf ends its watches when its list of waits ends."""

    def __iter__(self) -> Iterator[float]:
        wait = 0.5
        while True:
            yield wait * random.uniform(0.75, 1.25)  # noqa: S311 (spreads load only)
            wait = min(LONGEST_BACKOFF, wait * 2)


class _NoHistory(kopf.DiffBaseStorage):
    """Keeps no copy of what was seen: no handler of ours asks kopf what changed.

    Kopf would copy and compare every body all the same, which cost a third of its CPU time.
    """

    def build(
        self,
        *,
        body: kopf.Body,  # noqa: ARG002 (kopf's signature)
        extra_fields: object = None,  # noqa: ARG002 (kopf's signature)
    ) -> kopf.BodyEssence:
        """Return nothing, to be compared with nothing."""
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002 (kopf's signature)
        """Return that nothing was seen before."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Write nothing to the object."""


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
    kopf_settings.persistence.diffbase_storage = _NoHistory()
    return kopf_settings


class Listener:
    """One kopf operator at a time; `restart` ends the running one."""

    def __init__(
        self, registry: kopf.OperatorRegistry, discoverable: Callable[[], Awaitable[None]]
    ) -> None:
        """Wait for `discoverable` before each start: kopf looks for its kinds only then."""
        self._registry = registry
        self._discoverable = discoverable
        self._stop = threading.Event()

    async def run(self) -> None:
        """Run kopf until it ends; raises what ended it."""
        await self._discoverable()
        self._stop = threading.Event()
        ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        thread = threading.Thread(
            target=self._operate, args=(self._stop, ended), name="kopf", daemon=True
        )
        thread.start()
        try:
            error = await asyncio.shield(ended)
        except asyncio.CancelledError:
            self._stop.set()
            done, _ = await asyncio.wait((ended,), timeout=STOP_SECONDS)
            if not done:
                _log.warning("kopf does not end; its thread is left behind")
            raise
        if error is not None:
            raise error

    def restart(self) -> None:
        """End the running operator; whoever supervises `run` starts the next."""
        self._stop.set()

    def _operate(self, stop: threading.Event, ended: asyncio.Future[BaseException | None]) -> None:
        error: BaseException | None = None
        loop = uvloop.new_event_loop()
        try:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(self._kopf(stop))
        except BaseException as raised:  # noqa: BLE001 (handed over to the thread that waits)
            error = raised
        finally:
            loop.close()
            ended.get_loop().call_soon_threadsafe(_settle, ended, error)

    async def _kopf(self, stop: threading.Event) -> None:
        tasks = await kopf.spawn_tasks(
            registry=self._registry,
            settings=settings(),
            identity=_IDENTITY,
            standalone=True,
            clusterwide=True,
            stop_flag=stop,
        )
        done, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        # A thread of kopf's waits for the flag, and would outlive the loop.
        stop.set()
        await _cancelled(running)
        deadline = asyncio.get_running_loop().time() + ORPHAN_SECONDS
        while orphans := asyncio.all_tasks() - {asyncio.current_task()}:
            await _cancelled(orphans)
            if asyncio.get_running_loop().time() > deadline:
                break
        for task in done:
            await task


async def _cancelled(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=STEP_SECONDS)


def _settle(ended: asyncio.Future[BaseException | None], error: BaseException | None) -> None:
    if not ended.done():
        ended.set_result(error)
