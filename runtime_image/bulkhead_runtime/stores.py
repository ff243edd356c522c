"""Opens the store that the settings name; what is not named is not imported."""

from bulkhead_runtime.settings import Settings
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.sqlite import SqliteStore


def open_store(settings: Settings) -> StoreOfRecord:
    """Return the store of record; nothing is asked of it yet."""
    return SqliteStore(settings.data_directory)
