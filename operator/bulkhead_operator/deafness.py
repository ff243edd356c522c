"""Finds out when kopf no longer hears: what the API server has is compared with what was delivered.

A watch can be open and silent for ever, and after a gap nobody tells of deletions. So once a minute
the versions of our three kinds are listed (metadata only). What is newer than delivered in two
audits in a row was not heard; what is not there any more is taken out of the inventory at once.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import structlog

from bulkhead_operator.cluster.versions import Versions
from bulkhead_operator.errors import ClusterError
from bulkhead_operator.reconcile.inventory import Inventory, version_of
from bulkhead_operator.reconcile.keys import ORGANIZATION, PACKAGE, POOL, Key

KINDS: Final = (ORGANIZATION, PACKAGE, POOL)
AUDIT_SECONDS: Final = 60.0
STALE_SECONDS: Final = 30.0
SYNC_SECONDS: Final = 2.0
"""How long a first delivery is waited for before the list is taken again."""

_log = structlog.get_logger(__name__)


class Audit:
    """Compares the API server's versions with the inventory."""

    def __init__(
        self,
        versions: Callable[[str], Awaitable[Versions]],
        inventory: Inventory,
        on_gone: Callable[[Key], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask `versions` for a kind; call `on_gone` with keys whose deletion was not heard."""
        self._versions = versions
        self._inventory = inventory
        self._on_gone = on_gone
        self._clock = clock
        self._unheard: dict[Key, tuple[int, float]] = {}
        self._before: float | None = None
        self.proved = clock()
        """The latest moment up to which everything is known to have been heard."""
        self.delivered: Final = asyncio.Event()
        """Set by whoever delivers, so that the first synchronization does not have to poll."""

    async def synchronized(self) -> None:
        """Wait until everything that the API server has was delivered."""
        while missing := await self._missing():
            await self._delivery_of(missing)

    async def deaf(self) -> bool:
        """Take one audit; tell whether a version stayed undelivered since an earlier one."""
        missing = await self._missing()
        now = self._clock()
        self._unheard = {
            key: self._unheard_since(key, version, now) for key, version in missing.items()
        }
        self._prove(now)
        return any(now - since >= STALE_SECONDS for _, since in self._unheard.values())

    def heard_everything(self) -> bool:
        """Tell whether the last audit found nothing undelivered."""
        return not self._unheard

    def forgive(self) -> None:
        """Begin anew: the watches were just restarted."""
        self._unheard.clear()
        self._before = None

    def _prove(self, now: float) -> None:
        # On a busy cluster something is always on its way; what an audit missed must have been
        # delivered by the next one.
        if not self._unheard:
            self.proved = now
        elif self._before is not None and all(s == now for _, s in self._unheard.values()):
            self.proved = self._before
        self._before = now

    def _unheard_since(self, key: Key, version: int, now: float) -> tuple[int, float]:
        known = self._unheard.get(key)
        if known is None or self._inventory.delivered(key) >= known[0]:
            return (version, now)
        return known

    async def _missing(self) -> dict[Key, int]:
        missing: dict[Key, int] = {}
        for kind in KINDS:
            versions = await self._versions(kind)
            listed = {
                Key(key.kind, key.namespace, key.name): version
                for key, version in versions.objects.items()
            }
            self._take_out_gone(kind, listed.keys(), versions.at)
            missing |= {
                key: version
                for key, version in listed.items()
                if self._inventory.delivered(key) < version
            }
        return missing

    def _take_out_gone(self, kind: str, listed: Collection[Key], at: int) -> None:
        for key in self._inventory.all_keys():
            if key.kind != kind or key in listed:
                continue
            body = self._inventory.get(key)
            if body is not None and version_of(body) <= at and self._inventory.forget(key, at):
                self._on_gone(key)

    async def _delivery_of(self, missing: dict[Key, int]) -> None:
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                while any(self._inventory.delivered(key) < v for key, v in missing.items()):
                    self.delivered.clear()
                    await self.delivered.wait()
        except TimeoutError:
            _log.info("waiting for objects to be delivered", missing=len(missing))


class DeafnessWatch:
    """Audits once a minute and asks for a restart of what does not hear."""

    def __init__(self, audit: Audit, restart: Callable[[], None]) -> None:
        self._audit = audit
        self._restart = restart
        self.restarts_in_vain = 0
        """Restarts in a row after which something was still not heard."""

    async def run(self) -> None:
        """Audit until cancelled."""
        while True:
            await asyncio.sleep(AUDIT_SECONDS * random.uniform(0.9, 1.1))  # noqa: S311 (spreads)
            await self.audit()

    async def audit(self) -> None:
        """Take one audit and act on it; an API server that does not answer proves nothing."""
        try:
            deaf = await self._audit.deaf()
        except ClusterError as error:
            _log.info("audit not possible", error=error.message)
            return
        if not deaf:
            if self._audit.heard_everything():
                self.restarts_in_vain = 0
            return
        _log.error("a watch of our kinds does not hear; it is started again")
        self.restarts_in_vain += 1
        self._audit.forgive()
        self._restart()
