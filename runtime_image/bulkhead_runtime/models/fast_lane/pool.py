"""The connections to one provider's address, kept for the next call."""

import asyncio
import ssl
from collections import deque
from contextlib import suppress
from functools import cache, partial
from socket import SOCK_STREAM
from typing import Any, Final

import aiohappyeyeballs
from yarl import URL

from bulkhead_runtime.models.fast_lane.connection import Connection

MAX_CONNECTIONS: Final = 1_000
"""As many as a runtime has places for executions (spec.limits.maxConcurrentAgents), so that nobody
who has one waits here; one provider that hangs cannot take more."""

IDLE_SECONDS: Final = 30.0
TAIL_SECONDS: Final = 0.25
"""A connection whose end is not seen this soon after the last event is closed, not kept."""

_ADDRESS_SECONDS: Final = 10.0
_NEXT_FAMILY_SECONDS: Final = 0.25
"""After RFC 8305: where one of IPv6 and IPv4 leads nowhere, the other is tried this soon."""


class Pool:
    """Hands connections out, the one used last first, and takes them back."""

    def __init__(self, url: URL) -> None:
        self._host = url.raw_host or ""
        self._port = url.port or 0
        self._secure = url.scheme == "https"
        self._places = asyncio.Semaphore(MAX_CONNECTIONS)
        self._open: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        self._resolving = asyncio.Lock()
        self._addresses: deque[Any] = deque()
        self._addresses_until = 0.0

    async def acquire(self, seconds: float, *, new: bool) -> Connection:
        """Return a connection, a new one where wanted or none is kept.

        Raises `TimeoutError`, `ssl.SSLError` and other kinds of `OSError`.
        """
        if self._places.locked():
            async with asyncio.timeout(seconds):
                await self._places.acquire()
        else:
            await self._places.acquire()
        try:
            while self._idle and not new:
                connection = self._idle.pop()
                if connection.reusable or await connection.settled():
                    return connection
            async with asyncio.timeout(seconds):
                return await self._connected()
        except BaseException:
            self._places.release()
            raise

    def release(self, connection: Connection, *, ends: bool) -> None:
        """Take a connection back; `ends` tells that the end of its answer is due."""
        self._places.release()
        if connection.reusable:
            self._idle.append(connection)
        elif ends and not connection.ended:
            self._idle.appendleft(connection)  # what is surely usable goes first
        else:
            connection.abort()
            self._open.discard(connection)
            return
        connection.rest(IDLE_SECONDS, tail_seconds=TAIL_SECONDS)

    def close(self) -> None:
        """End every connection; calls under way end with an error."""
        for connection in tuple(self._open):
            connection.abort()

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        socket = await aiohappyeyeballs.start_connection(
            await self._resolved(), happy_eyeballs_delay=_NEXT_FAMILY_SECONDS, loop=loop
        )
        try:
            # Reading what the system trusts takes 20 ms, once.
            tls = await asyncio.to_thread(trust) if self._secure else None
            _, connection = await loop.create_connection(
                partial(Connection, self._forget),
                sock=socket,
                ssl=tls,
                server_hostname=self._host if self._secure else None,
            )
        except BaseException:
            socket.close()
            raise
        self._open.add(connection)
        return connection

    async def _resolved(self) -> list[Any]:
        """Return where the host is found, another address first each time."""
        loop = asyncio.get_running_loop()
        async with self._resolving:
            if loop.time() >= self._addresses_until:
                found = await loop.getaddrinfo(self._host, self._port, type=SOCK_STREAM)
                self._addresses = deque(found)
                self._addresses_until = loop.time() + _ADDRESS_SECONDS
            self._addresses.rotate(-1)
            return list(self._addresses)


@cache
def trust() -> ssl.SSLContext:
    """Return a context that trusts what the system trusts."""
    return ssl.create_default_context()
