"""Lets two callers that want the same thing made wait for one making of it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster import places
from tests.cluster.progress import say


@contextmanager
def held(name: str, *, waiting: str = "") -> Iterator[None]:
    """Hold the lock NAME of the cache; it goes with the process, however that ends.

    `waiting` is said when somebody else holds it.
    """
    lock = places.cache() / "locks" / name
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                say(waiting)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
