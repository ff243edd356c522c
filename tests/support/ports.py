"""Ports for servers that tests start: no two workers of one run are ever given the same."""

import itertools
import os
import random
import socket
from collections.abc import Iterator

_PORTS = range(10_000, 32_000)
"""Below those that the system hands out, lest a client takes one before its server does."""

_WORKERS = 16
"""So many workers have ports of their own."""


def _of_this_worker() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = list(_PORTS[worker % _WORKERS :: _WORKERS])
    random.shuffle(ports)
    return itertools.cycle(ports)


_next_ports = _of_this_worker()


def free_port() -> int:
    """Return a port of the loopback that nothing listens on; each comes again after all others."""
    while True:
        port = next(_next_ports)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
