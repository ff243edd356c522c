"""Opens the shared store from what is mounted: the DSN of PostgreSQL and the address of Redis."""

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from bulkhead_api import names
from bulkhead_runtime.errors import store_unavailable
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
    """Return a DSN that libpq reads as it is meant; raise a 503 `Problem` for any other.

    About those libpq's own messages would quote the password, or what it takes for the host.
    """
    address = dsn.partition("://")[2]
    authority = re.split("[/?]", address, maxsplit=1)[0]
    misread = "@" in address[len(authority) :] or authority.count("@") > 1
    try:
        conninfo_to_dict(dsn)
    except psycopg.Error:
        misread = True
    if misread:
        raise store_unavailable(
            "The DSN that spec.storage.postgres.secretRef names cannot be read: write "
            "postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE, with the password percent-encoded."
        )
    return dsn


def _mounted(file: Path, field: str) -> Callable[[], str]:
    def read() -> str:
        try:
            return file.read_text().strip()
        except OSError as error:
            raise store_unavailable(f"The Secret that {field} names is not mounted.") from error

    return read
