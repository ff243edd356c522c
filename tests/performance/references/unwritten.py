"""The runtime over a store that keeps sessions and budgets, but neither events nor the ledger."""

from typing import Any

from msgspec.structs import replace

from bulkhead_runtime.store.port import PoolBounds
from bulkhead_runtime.store.spending import Finish, Finished
from bulkhead_runtime.store.sqlite import SqliteStore
from tests.performance.references.own_store import serve


class UnwrittenStore(SqliteStore):
    """The embedded store without its two logs."""

    async def finish(self, request: Finish, bounds: PoolBounds) -> Finished:
        """Settle without the ledger's lines."""
        return await super().finish(replace(request, lines=()), bounds)

    async def append_events(self, _: Any) -> None:
        """Forget them."""


if __name__ == "__main__":
    serve(UnwrittenStore)
