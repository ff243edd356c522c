"""Opens the shared store from what is mounted: the DSN of PostgreSQL and the address of Redis."""

from collections.abc import Callable
from pathlib import Path

from bulkhead_api import names
from bulkhead_runtime.errors import store_unavailable
from bulkhead_runtime.store.postgres.dsn import REMEDY, readable
from bulkhead_runtime.store.postgres.pool import Pool
from bulkhead_runtime.store.postgres.store import PostgresStore


def open_store(organization: str, secrets: Path, *, connections: int, cache: bool) -> PostgresStore:
    """Return the store of an organization, with at most that many connections to PostgreSQL.

    With `cache`, Redis stands in front. Nothing is opened before the first question. The DSN is
    read again for every connection, so a rotated password needs no restart.
    """
    dsn = _mounted(secrets / names.POSTGRES_DSN_FILE, "spec.storage.postgres.secretRef")
    pool = Pool(lambda: _sound(dsn()), connections)
    if not cache:
        return PostgresStore(pool, organization)
    # Imported where it is configured: redis takes 60 ms and 8 MB.
    from bulkhead_runtime.store.redis.link import Link  # noqa: PLC0415
    from bulkhead_runtime.store.redis.store import CachedStore  # noqa: PLC0415

    address = _mounted(secrets / names.REDIS_URL_FILE, "spec.storage.redis.secretRef")
    return CachedStore(pool, organization, Link(address, organization))


def _sound(dsn: str) -> str:
    if not readable(dsn):
        raise store_unavailable(
            f"The DSN that spec.storage.postgres.secretRef names cannot be read: {REMEDY}."
        )
    return dsn


def _mounted(file: Path, field: str) -> Callable[[], str]:
    def read() -> str:
        try:
            return file.read_text().strip()
        except OSError as error:
            raise store_unavailable(f"The Secret that {field} names is not mounted.") from error

    return read
