"""The runtime over the embedded store as it is, served as its twin without logs is."""

from bulkhead_runtime.store.sqlite import SqliteStore
from tests.performance.references.own_store import serve

if __name__ == "__main__":
    serve(SqliteStore)
