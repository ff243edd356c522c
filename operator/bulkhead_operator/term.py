"""One term of leadership: everything that runs while this replica leads, and its orderly end.

Nothing of a term outlives it: what was known may be stale by the time this replica leads again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from bulkhead_operator.cluster.events import Events
from bulkhead_operator.cluster.lease import Lease
from bulkhead_operator.cluster.watch import KindWatch
from bulkhead_operator.deafness import KINDS, Audit, DeafnessWatch
from bulkhead_operator.errors import ClusterError, LeaseLost
from bulkhead_operator.handlers.listening import Listener
from bulkhead_operator.metrics import Metrics
from bulkhead_operator.reconcile.inventory import Inventory
from bulkhead_operator.reconcile.queue import Queue
from bulkhead_operator.reconcile.resync import resync
from bulkhead_operator.supervision import keep_running

DRAIN_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 150.0
"""Bookmarks come every minute, and a failing watch tries again within half a minute."""
RESTARTS_IN_VAIN: Final = 2

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Parts:
    """What runs in a term."""

    lease: Lease
    listener: Listener
    watches: Sequence[KindWatch]
    audit: Audit
    deafness: DeafnessWatch
    queue: Queue
    events: Events
    inventory: Inventory
    metrics: Metrics
    resync_seconds: float
    clock: Callable[[], float] = field(default=time.monotonic)


class Term:
    """Runs the parts of one term."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._synchronized = False

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set or leadership is lost, then end everything."""
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._supervised(), name="parts"),
            asyncio.create_task(self._parts.lease.hold(), name="lease"),
            asyncio.create_task(stop.wait(), name="stop"),
        ]
        self._parts.metrics.watches.follow(self.watch_ages)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if isinstance(error := task.exception(), LeaseLost):
                    _log.warning("leadership lost", error=error.message)
                elif error is not None:
                    raise error
        finally:
            self._parts.metrics.watches.follow(dict)
            await self._end(tasks)

    def alive(self) -> Sequence[str]:
        """Return what a restart of the process would mend."""
        now = self._parts.clock()
        problems = [
            f"the watch of {watch.kind.name} heard nothing for {now - watch.heard:.0f} s"
            for watch in self._parts.watches
            if now - watch.heard > SILENT_SECONDS
        ]
        if self._parts.deafness.restarts_in_vain >= RESTARTS_IN_VAIN:
            problems.append("restarting the watches of our kinds did not make them hear")
        return problems

    def watch_ages(self) -> Mapping[str, float]:
        """Return the seconds since the watch of each kind was known to hear."""
        now = self._parts.clock()
        ages = {watch.kind.name: now - watch.heard for watch in self._parts.watches}
        return ages | dict.fromkeys(KINDS, now - self._parts.audit.proved)

    def ready(self) -> Sequence[str]:
        """Return what is still missing before everything is known."""
        if self._synchronized:
            return ()
        return ["not everything that the API server has was delivered yet"]

    async def _supervised(self) -> None:
        parts = self._parts
        async with asyncio.TaskGroup() as group:
            for watch in parts.watches:
                group.create_task(self._kept(f"watch of {watch.kind.name}", watch.run))
            group.create_task(self._kept("listener", parts.listener.run))
            group.create_task(self._kept("events", parts.events.run))
            await self._synchronize()
            group.create_task(self._kept("audit", parts.deafness.run))
            group.create_task(self._kept("resync", self._resync))

    async def _kept(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        await keep_running(name, part, self._restarted)

    def _restarted(self, name: str) -> None:
        self._parts.metrics.restarts.labels(name).inc()

    async def _synchronize(self) -> None:
        # A reconcile that does not know all children or packages would undo what is right.
        for watch in self._parts.watches:
            await watch.synced.wait()
        while True:
            try:
                await self._parts.audit.synchronized()
                break
            except ClusterError as error:
                _log.warning("not synchronized yet", error=error.message)
                await asyncio.sleep(1)
        for key in self._parts.inventory.all_keys():
            self._parts.queue.ring(key)
        self._parts.queue.open()
        self._synchronized = True
        _log.info("synchronized", objects=len(self._parts.inventory.all_keys()))

    async def _resync(self) -> None:
        parts = self._parts
        await resync(
            parts.inventory.all_keys,
            lambda key: parts.queue.ring(key, "resync"),
            parts.resync_seconds,
        )

    async def _end(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        drain = DRAIN_SECONDS if self._parts.lease.may_write() else 0.0
        await self._parts.queue.close(drain)
        # Before the rest ends, so that a standby does not wait for it.
        await self._parts.lease.release()
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
