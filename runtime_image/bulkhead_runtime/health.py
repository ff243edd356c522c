"""What a runtime needs to serve, part by part, for probes, the operator and people.

A shared store that is away is told and fails no probe: every replica would leave its Service at
once, and callers would get no answer where they now get one with Retry-After.
"""

import time
from typing import Final

from bulkhead_api.runtime_state import Refusal
from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.config.secrets import Token
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.models.port import Router
from bulkhead_runtime.readiness import Dependency
from bulkhead_runtime.stores import Stores
from bulkhead_runtime.tools.registry import ToolRegistry

SHARED_STORE_SECONDS: Final = 30.0
"""How long a shared store that answered counts as there: probes are frequent, and where nothing
else is asked every look is a login. Who asks for something is told at once of one that is away."""

AWAY_SECONDS: Final = 5.0
"""How long one counts as away."""


class Health:
    """Looks at the parts of one runtime."""

    def __init__(
        self,
        holder: ConfigurationHolder,
        stores: Stores,
        router: Router,
        tools: ToolRegistry,
        api_key: Token,
    ) -> None:
        self._holder = holder
        self._stores = stores
        self._router = router
        self._tools = tools
        self._api_key = api_key
        self._store: Dependency | None = None
        self._looked_at = 0.0

    async def dependencies(self) -> tuple[Dependency, ...]:
        """Return the state of every dependency by name."""
        present = self._api_key.present
        return (
            self._configuration(),
            self._agents(),
            await self.store(),
            *self._cache(),
            Dependency(
                "api_key",
                present,
                "loaded" if present else "the Secret runtime-api-key is missing",
            ),
            self._credentials(),
            *self._servers(),
        )

    async def store(self) -> Dependency:
        """Return the state of the store of record."""
        now = time.monotonic()
        if self._store is None or now - self._looked_at >= self._fresh_seconds(self._store):
            self._store = await self._look_at_store()
            self._looked_at = now
        return self._store

    def _fresh_seconds(self, store: Dependency) -> float:
        if not self._stores.shared:
            return 0.0
        return SHARED_STORE_SECONDS if store.ok else AWAY_SECONDS

    async def refusals(self) -> tuple[Refusal, ...]:
        """Return what keeps the runtime from doing what it was told, for the operator."""
        found = [self._holder.refusal] if self._holder.refusal else []
        if self._holder.current is not None:
            found.extend(self._holder.current.set_aside)
        set_aside = self._stores.of_record.set_aside
        if set_aside is not None:
            message = f"a damaged database was set aside as {set_aside.name}"
            found.append(Refusal(what="store", message=message))
        store = await self.store()
        if not store.ok:
            found.append(Refusal(what=store.name, message=store.message))
        return tuple(found)

    async def _look_at_store(self) -> Dependency:
        name = "postgres" if self._stores.shared else "store"
        store, required = self._stores.of_record, not self._stores.shared
        if store.corrupt:
            return Dependency(name, ok=False, message="the database is damaged")
        try:
            await store.check()
        except Problem as problem:
            return Dependency(name, ok=False, message=problem.message, required=required)
        if store.set_aside is not None:
            message = f"new; damaged one kept as {store.set_aside.name}"
            return Dependency(name, ok=True, message=message)
        return Dependency(name, ok=True, message="open", required=required)

    def _cache(self) -> tuple[Dependency, ...]:
        if self._stores.cache_away is None:
            return ()
        away = self._stores.cache_away()
        message = "away: slower, and rates hold per replica" if away else "answers"
        return (Dependency("redis", not away, message, required=False),)

    def _configuration(self) -> Dependency:
        followed = self._holder.current is not None
        if self._holder.refusal is not None:
            return Dependency("configuration", followed, self._holder.refusal.message)
        return Dependency("configuration", followed, "followed" if followed else "not seen yet")

    def _agents(self) -> Dependency:
        count = len(self._holder.current.serving) if self._holder.current else 0
        return Dependency("agents", ok=True, message=f"{count} in service", required=False)

    def _credentials(self) -> Dependency:
        missing = self._router.missing_credentials()
        message = f"missing for {', '.join(missing)}" if missing else "complete"
        return Dependency("model_credentials", not missing, message, required=False)

    def _servers(self) -> tuple[Dependency, ...]:
        failures = self._tools.failures
        if not failures:
            return ()
        message = f"no answer from {', '.join(sorted(failures))}"
        return (Dependency("tool_servers", ok=False, message=message, required=False),)
