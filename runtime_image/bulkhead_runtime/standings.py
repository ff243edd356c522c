"""Looks up what is true of a runtime for whoever reads its metrics.

What lies in memory is looked at by every reader. The store, the volume and the process are looked
at before, in `refresh`, and the store no more often than that may cost.
"""

import asyncio
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from bulkhead_api.v1alpha1.authentication import ApiKey
from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.config.snapshot import Configuration
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.accounts import BudgetLimits, accounts_of
from bulkhead_runtime.kernel.admission import Admission
from bulkhead_runtime.kernel.background import Background
from bulkhead_runtime.kernel.steps import WHOLE_ORGANIZATION
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.port import PoolBounds, PoolUsage
from bulkhead_runtime.store.records import StoredKey
from bulkhead_runtime.store.spending import Balance
from bulkhead_runtime.telemetry.flights import Flights
from bulkhead_runtime.telemetry.instruments import Labels
from bulkhead_runtime.telemetry.process import process_figures
from bulkhead_runtime.telemetry.standing import Standing

SHARED_STORE_SECONDS: Final = 1.0
"""How old what a shared store said may be; an embedded one costs microseconds and is asked anew."""

STORE_SECONDS: Final = 1.0
"""How long a reader waits for the store: what else there is to read must not wait for it."""

KEYS_SECONDS: Final = 60.0
MAX_KEYS: Final = 50
"""API keys whose expiry is shown, those that expire first; what others do is no news yet."""

EXPIRED_SECONDS: Final = 24 * 3600.0
"""How long a key is shown that has expired: longer, and old ones would crowd out the next."""


class Standings:
    """Looks at the parts of one runtime.

    `volume` is where the embedded store lies, None where the store is a shared one; the balances
    of the organization's budgets go to `show_balances`.
    """

    def __init__(
        self,
        *,
        holder: ConfigurationHolder,
        admission: Admission,
        flights: Flights,
        store: StoreOfRecord,
        volume: Path | None,
        background: Background,
        show_balances: Callable[[tuple[Balance, ...]], None],
    ) -> None:
        self._holder = holder
        self._admission = admission
        self._flights = flights
        self._store = store
        self._volume = volume
        self._background = background
        self._show_balances = show_balances
        self._usage: PoolUsage | None = None
        self._keys: tuple[StoredKey, ...] = ()
        self._keys_read_at = self._read_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    async def refresh(self, patience: float) -> None:
        """Look at the store again, unless that was just done; wait for it so many seconds at most.

        What a store does not tell is not known; what it tells late is for the next reader.
        """
        now = time.monotonic()
        if self._volume is None and now - self._read_at < SHARED_STORE_SECONDS:
            return
        if self._looking is None or self._looking.done():
            self._looking = self._background.spawn(self._look(now))
        await asyncio.wait({self._looking}, timeout=patience)

    async def _look(self, now: float) -> None:
        try:
            self._usage = await self._store.usage()
            if now - self._keys_read_at >= KEYS_SECONDS:
                self._keys, self._keys_read_at = await self._store.keys(), now
            self._show_balances(await self._balances())
        except Problem:
            self._usage = None
        self._read_at = now

    def now(self) -> Standing:
        """Return what is true."""
        standing = Standing(
            agents_active=self._flights.agents,
            active=self._admission.active,
            queued=self._admission.queued,
            oldest_queued_seconds=self._admission.oldest_queued_seconds,
            process=process_figures(),
            runtime_version=runtime_version(),
        )
        if self._usage is not None:
            standing = _with_pool(standing, self._usage)
        if self._volume is not None:
            standing = _with_volume(standing, self._volume)
        if self._holder.current is not None:
            standing = self._configured(standing, self._holder.current)
        return standing

    def _configured(self, standing: Standing, configuration: Configuration) -> Standing:
        source, limits = configuration.source, configuration.limits
        return replace(
            standing,
            agents=len(configuration.serving),
            active_limit=limits.max_concurrent_agents,
            queued_limit=limits.max_queue_size,
            pool_capacity_bytes=PoolBounds.configured(source).max_bytes,
            versions={key: version.weight for key, version in configuration.versions.items()},
            keys=self._expiries(source.authentication.api_keys),
        )

    async def _balances(self) -> tuple[Balance, ...]:
        """Return where the accounts of the whole organization stand."""
        configuration = self._holder.current
        if configuration is None:
            return ()
        limits = BudgetLimits.of(configuration.source.budgets)
        accounts = accounts_of(limits, agent="", session_id=None)
        bounded = tuple(one for one in accounts if one.scope in WHOLE_ORGANIZATION and one.limits)
        return await self._store.balances(bounded) if bounded else ()

    def _expiries(self, mounted: tuple[ApiKey, ...]) -> dict[Labels, float]:
        """Return when keys expire, by name; of two that share a name the one that expires first."""
        found = [
            (datetime.fromisoformat(key.expires_at).timestamp(), key.name)
            for key in mounted
            if key.expires_at is not None
        ]
        found += [
            (key.expires_at / 1000, key.name) for key in self._keys if key.expires_at is not None
        ]
        since = time.time() - EXPIRED_SECONDS
        first = sorted(key for key in found if key[0] > since)[:MAX_KEYS]
        return {(name,): expires_at for expires_at, name in reversed(first)}


def _with_pool(standing: Standing, usage: PoolUsage) -> Standing:
    return replace(
        standing,
        sessions=usage.sessions,
        pool_bytes=usage.used_bytes,
        pool_archived_bytes=usage.archived_bytes,
    )


def _with_volume(standing: Standing, directory: Path) -> Standing:
    try:
        volume = shutil.disk_usage(directory)
    except OSError:
        return standing
    return replace(standing, storage_used_bytes=volume.used, storage_capacity_bytes=volume.total)


@cache
def runtime_version() -> str:
    """Return the version of the installed package."""
    try:
        return version("bulkhead")
    except PackageNotFoundError:
        return "0.0.0"
