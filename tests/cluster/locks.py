"""Lets two callers that want the same thing made wait for one making of it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster import places


@contextmanager
def held(name: str) -> Iterator[None]:
    """Hold the lock NAME of the cache; it goes with the process, however that ends."""
    lock = places.cache() / "locks" / name
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
