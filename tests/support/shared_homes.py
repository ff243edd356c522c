"""Where the shared stores live during a test: organizations of its own on one server."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bulkhead_api import names
from bulkhead_runtime.store.postgres.opening import open_store
from bulkhead_runtime.store.postgres.store import PostgresStore
from tests.support.postgres import Postgres, shared_postgres
from tests.support.redis_server import Redis, shared_redis


class SharedHome:
    """Mounts Secrets as the operator does, one folder per organization."""

    def __init__(self, directory: Path, postgres: Postgres, redis: Redis | None = None) -> None:
        self._directory = directory
        self._postgres = postgres
        self._redis = redis
        self._suffix = secrets.token_hex(6)
        self._opened: list[PostgresStore] = []

    async def open(self, organization: str = "acme") -> PostgresStore:
        """Return one more replica's store of an organization, recovered and ready."""
        name = self.name(organization)
        folder = await self.mounted(name)
        store = open_store(name, folder, connections=4, cache=self._redis is not None)
        self._opened.append(store)
        await store.recover()
        return store

    def name(self, organization: str) -> str:
        """Return the name that an organization has here."""
        return f"{organization}-{self._suffix}"

    async def mounted(self, name: str) -> Path:
        """Return the folder with an organization's Secrets, making its role the first time."""
        folder = self._directory / name
        file = folder / names.POSTGRES_DSN_FILE
        if not file.exists():
            file.parent.mkdir(parents=True)
            file.write_text(await self._postgres.add_organization(name))
            if self._redis is not None:
                address = folder / names.REDIS_URL_FILE
                address.parent.mkdir()
                address.write_text(self._redis.add_organization(name))
        return folder

    async def close(self) -> None:
        """Close every store."""
        for store in self._opened:
            await store.close()


@asynccontextmanager
async def postgres_home(directory: Path) -> AsyncIterator[SharedHome]:
    """Yield a home on the PostgreSQL that the tests of this process share."""
    home = SharedHome(directory, await shared_postgres())
    yield home
    await home.close()


@asynccontextmanager
async def redis_home(directory: Path) -> AsyncIterator[SharedHome]:
    """Yield a home on the PostgreSQL and the Redis that the tests of this process share."""
    home = SharedHome(directory, await shared_postgres(), shared_redis())
    yield home
    await home.close()
