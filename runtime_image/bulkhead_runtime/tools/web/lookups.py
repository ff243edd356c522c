"""Looks up names that others chose, in threads that nothing else waits for.

The event loop has four threads for all names. A name server that never answers holds one for forty
seconds, whatever becomes of the call, so four such names would keep model providers and stores from
being found.
"""

import asyncio
import socket
from concurrent.futures import Future
from threading import BoundedSemaphore, Thread
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

MAX_LOOKUPS: Final = 64
"""At once; more than the calls of a source can leave behind in the time that one takes."""

Found = list[tuple[Any, ...]]


class Lookups(AbstractResolver):
    """The system's resolver, with at most so many names looked up at once."""

    def __init__(self, most: int = MAX_LOOKUPS) -> None:
        self._places = BoundedSemaphore(most)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host; raise `OSError` where there are none, or no place."""
        if not self._places.acquire(blocking=False):
            raise OSError("too many names are being looked up")
        found: Future[Found] = Future()
        found.set_running_or_notify_cancel()  # whoever gives up leaves the thread to itself
        # Not of a pool, whose threads the process waits for when it ends.
        Thread(target=self._look_up, args=(found, host, port, family), daemon=True).start()
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=address[1],
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in await asyncio.wrap_future(found)
        ]

    async def close(self) -> None:
        """Hold nothing that needs closing."""

    def _look_up(self, found: Future[Found], host: str, port: int, family: int) -> None:
        try:
            addresses = self._addresses(host, port, family)
        except (OSError, UnicodeError) as error:
            found.set_exception(error)
        else:
            found.set_result(addresses)

    def _addresses(self, host: str, port: int, family: int) -> Found:
        kind, flags = socket.SOCK_STREAM, socket.AI_ADDRCONFIG
        try:
            return socket.getaddrinfo(host, port, family=family, type=kind, flags=flags)
        finally:
            self._places.release()
