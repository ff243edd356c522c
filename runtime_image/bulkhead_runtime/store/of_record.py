"""The store of record: every port in one object, which the composition root opens and closes."""

from pathlib import Path
from typing import Protocol

from bulkhead_runtime.store.figures import FigureLog
from bulkhead_runtime.store.port import SessionStore
from bulkhead_runtime.store.records import EventLog, KeyLog, PolicyLog, UsageLog
from bulkhead_runtime.store.spending import SpendingStore


class StoreOfRecord(
    SessionStore, SpendingStore, EventLog, UsageLog, PolicyLog, KeyLog, FigureLog, Protocol
):
    """Keeps everything of one organization; used within one event loop."""

    @property
    def corrupt(self) -> bool:
        """Tell whether only a restart helps."""
        ...

    @property
    def set_aside(self) -> Path | None:
        """Return where a damaged database was moved to when this one was opened."""
        ...

    async def recover(self) -> None:
        """Free what holders that are gone were working on; called once before serving."""
        ...

    async def check(self) -> None:
        """Ask the store for the least there is; raise a 503 `Problem` when it does not answer."""
        ...

    async def close(self) -> None:
        """Finish what is being written and let go of everything."""
        ...
