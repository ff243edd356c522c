"""Removes sessions past the pool's retention when they are due, not by looking again and again."""

import asyncio
import logging
import time

from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.config.snapshot import Configuration
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.store.port import PoolBounds
from bulkhead_runtime.store.sqlite import SqliteStore

log = logging.getLogger(__name__)

MIN_SECONDS = 1.0
MAX_SECONDS = 3600.0
"""The ledger is trimmed at least this often, and a session that was skipped is tried again."""


class RetentionSweep:
    """Sleeps until the oldest session expires or the retention changes."""

    def __init__(self, store: SqliteStore, holder: ConfigurationHolder) -> None:
        self._store = store
        self._bounds: PoolBounds | None = None
        self._changed = asyncio.Event()
        holder.subscribe(self._follow)

    async def run(self) -> None:
        """Remove what expires, until cancelled."""
        while True:
            seconds = MAX_SECONDS
            try:
                if self._bounds is not None:
                    seconds = await self._sweep(self._bounds)
            except Problem as problem:
                log.warning("Retention sweep failed", extra={"reason": problem.message})
            await self._sleep(seconds)

    def _follow(self, configuration: Configuration) -> None:
        bounds = PoolBounds.of(configuration.source.pool)
        if bounds != self._bounds:
            self._bounds = bounds
            self._changed.set()

    async def _sweep(self, bounds: PoolBounds) -> float:
        removed = await self._store.remove_expired(bounds)
        if removed:
            log.info("Expired sessions removed", extra={"sessions": removed})
        oldest = await self._store.oldest_activity()
        if bounds.retention_seconds is None or oldest is None:
            return MAX_SECONDS
        due = oldest / 1000 + bounds.retention_seconds - time.time()
        return min(MAX_SECONDS, max(MIN_SECONDS, due))

    async def _sleep(self, seconds: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
