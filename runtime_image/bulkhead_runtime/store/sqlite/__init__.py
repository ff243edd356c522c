"""The embedded store: one SQLite file on the organization's volume."""

from bulkhead_runtime.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
