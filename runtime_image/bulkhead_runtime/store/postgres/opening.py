"""Opens the shared store from what is mounted: the DSN of PostgreSQL and the address of Redis."""

from collections.abc import Callable
from pathlib import Path

from bulkhead_api import names
from bulkhead_runtime.errors import store_unavailable
from bulkhead_runtime.store.postgres.pool import Pool
from bulkhead_runtime.store.postgres.store import PostgresStore


def open_store(organization: str, secrets: Path, *, connections: int) -> PostgresStore:
    """Return the store of an organization, with at most that many connections to PostgreSQL.

    Nothing is opened before the first question. The DSN is read again for every connection, so a
    rotated password needs no restart.
    """
    pool = Pool(_mounted(secrets / names.POSTGRES_DSN_FILE), connections)
    return PostgresStore(pool, organization)


def _mounted(file: Path) -> Callable[[], str]:
    def read() -> str:
        try:
            return file.read_text().strip()
        except OSError as error:
            raise store_unavailable(
                "The Secret of spec.storage.postgres is not mounted."
            ) from error

    return read
