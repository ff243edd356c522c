"""What a runtime does every so often, because nobody can tell it when: see what others left.

A process that dies tells nobody, and another replica's change of policies comes as rows of the
store. Both are looked for seldom; a runtime alone on its store looks for the first only.
"""

import asyncio
import logging
from typing import Final

from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.policy.administration import PolicyAdministration
from bulkhead_runtime.store.spending import SpendingStore

log = logging.getLogger(__name__)

ABANDONED_SECONDS: Final = 60.0
POLICIES_SECONDS: Final = 5.0


class Upkeep:
    """Releases what dead processes held, and follows policies that other replicas were given."""

    def __init__(
        self, store: SpendingStore, policies: PolicyAdministration, holder: ConfigurationHolder
    ) -> None:
        self._store = store
        self._policies = policies
        self._holder = holder

    async def release_abandoned(self) -> None:
        """Settle what processes that are gone had reserved, until cancelled."""
        while True:
            await asyncio.sleep(ABANDONED_SECONDS)
            try:
                released = await self._store.release_abandoned()
            except Problem as problem:
                log.warning("Abandoned work not released", extra={"reason": problem.message})
            else:
                if released:
                    log.warning("Abandoned work released", extra={"released": released})

    async def read_policies(self) -> None:
        """Follow the policies that the store holds; until that has worked everything is denied."""
        try:
            await self._policies.load()
        except Problem as problem:
            log.warning("Policies not read", extra={"reason": problem.message})

    async def follow_policies(self) -> None:
        """Follow the policies that the store holds, until cancelled."""
        while True:
            await self.read_policies()
            await asyncio.sleep(POLICIES_SECONDS if self._shared() else ABANDONED_SECONDS)

    def _shared(self) -> bool:
        configuration = self._holder.current
        return configuration is not None and configuration.source.replicas > 1
