"""The runtime over a store that answers at once: what its own middleware takes, without I/O."""

from typing import Any

from bulkhead_runtime.store.spending import Begun, Finished
from bulkhead_runtime.store.sqlite import SqliteStore
from tests.performance.references.own_store import serve


class InstantStore(SqliteStore):
    """Grants what work asks for and keeps nothing of it; only for work without a session."""

    async def begin(self, *_: Any, **__: Any) -> Begun:
        """Grant it."""
        return Begun(None, ())

    async def finish(self, *_: Any, **__: Any) -> Finished:
        """Forget it."""
        return Finished(None, ())

    async def append_events(self, _: Any) -> None:
        """Forget them."""


if __name__ == "__main__":
    serve(InstantStore)
