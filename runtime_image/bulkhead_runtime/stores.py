"""Opens the store that the settings name; what is not named is not imported."""

from collections.abc import Callable
from dataclasses import dataclass

from bulkhead_runtime.kernel.admission import Rates
from bulkhead_runtime.settings import Settings
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.postgres.signals import Signals
from bulkhead_runtime.store.sqlite import SqliteStore


@dataclass(frozen=True, slots=True)
class Stores:
    """The store of record, and what replicas tell each other through it or beside it."""

    of_record: StoreOfRecord
    signals: Signals
    rates: Rates | None = None
    shared: bool = False
    cache_away: Callable[[], bool] | None = None
    """Tells whether the cache in front does not answer; None where there is none."""


def open_stores(settings: Settings) -> Stores:
    """Return the stores; nothing is asked of them yet."""
    if settings.store == "sqlite":
        return Stores(SqliteStore(settings.data_directory), Signals())
    # psycopg takes a tenth of a second and 9 MB.
    from bulkhead_runtime.store.postgres.opening import open_store  # noqa: PLC0415

    store = open_store(
        settings.organization,
        settings.secrets_directory,
        connections=settings.postgres_max_connections,
        cache=settings.redis,
    )
    if not settings.redis:
        return Stores(store, store.signals, shared=True)
    from bulkhead_runtime.store.redis.store import CachedStore  # noqa: PLC0415 (as above)

    assert isinstance(store, CachedStore), "asked for with `cache`"
    cached = store
    return Stores(
        cached, cached.signals, cached.rates, shared=True, cache_away=lambda: cached.cache_away
    )
