"""Lets sessions expire and leave when that is due; old events and ledger lines leave with them.

Every replica sweeps: what two would do at once the store lets only one do.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from bulkhead_api.v1alpha1.records import Records
from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.config.snapshot import Configuration
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.port import ExpiredSession, PoolBounds, Swept

log = logging.getLogger(__name__)

MIN_SECONDS = 1.0
MAX_SECONDS = 3600.0
"""A session that was skipped, or that another replica made, is looked at within this time."""

ROWS_AT_ONCE = 1000
"""A batch is a transaction: other work goes on between two of them."""

_DAY_MS = 24 * 3600 * 1000


class RetentionSweep:
    """Sleeps until the oldest session expires or a bound changes; `expired` is told of each."""

    def __init__(
        self,
        store: StoreOfRecord,
        holder: ConfigurationHolder,
        expired: Callable[[ExpiredSession], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._expired = expired
        self._bounds: PoolBounds | None = None
        self._records = Records()
        self._changed = asyncio.Event()
        holder.subscribe(self._follow)

    async def run(self) -> None:
        """Remove what expires, until cancelled."""
        while True:
            self._changed.clear()
            seconds = MAX_SECONDS
            try:
                if self._bounds is not None:
                    seconds = await self._sweep(self._bounds)
            except Problem as problem:
                log.warning("Retention sweep failed", extra={"reason": problem.message})
            await self._sleep(seconds)

    def _follow(self, configuration: Configuration) -> None:
        bounds = PoolBounds.configured(configuration.source)
        records = configuration.source.records
        if (bounds, records) != (self._bounds, self._records):
            self._bounds, self._records = bounds, records
            self._changed.set()

    async def _sweep(self, bounds: PoolBounds) -> float:
        swept = await self._store.sweep(bounds)
        if swept.expired or swept.removed:
            log.info(
                "Sessions swept",
                extra={"expired": len(swept.expired), "removed": swept.removed},
            )
        for session in swept.expired:
            self._expired(session)
        await self._remove_old_records()
        return _seconds_until(swept, bounds)

    async def _remove_old_records(self) -> None:
        store, records, now = self._store, self._records, time.time_ns() // 1_000_000
        for remove, days in (
            (partial(store.remove_events, keep=records.max_events), records.event_days),
            (store.trim_ledger, records.ledger_days),
        ):
            while await remove(before=now - days * _DAY_MS, limit=ROWS_AT_ONCE) == ROWS_AT_ONCE:
                pass

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()


def _seconds_until(swept: Swept, bounds: PoolBounds) -> float:
    """Return the time to the next sweep; a session that begins now may be the next that expires."""
    seconds = MAX_SECONDS if bounds.idle_seconds is None else min(MAX_SECONDS, bounds.idle_seconds)
    if swept.due_at is None:
        return seconds
    return min(seconds, max(MIN_SECONDS, swept.due_at / 1000 - time.time()))
