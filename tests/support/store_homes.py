"""Where a store of record lives during a test: opened as often as there are replicas."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.sqlite import SqliteStore


class StoreHome(Protocol):
    """One place that keeps several organizations; closes what it opened."""

    async def open(self, organization: str = "acme") -> StoreOfRecord:
        """Return one more replica's store of an organization, recovered and ready."""
        ...


class SqliteHome:
    """A volume of its own per organization, as the embedded store has it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._opened: list[SqliteStore] = []

    async def open(self, organization: str = "acme") -> StoreOfRecord:
        store = SqliteStore(self._directory / organization)
        self._opened.append(store)
        await store.recover()
        return store

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


@asynccontextmanager
async def sqlite_home(directory: Path) -> AsyncIterator[StoreHome]:
    home = SqliteHome(directory)
    yield home
    await home.close()
