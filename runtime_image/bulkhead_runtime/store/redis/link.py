"""The way to Redis: short waits, and none at all for a while after several in vain.

Whatever goes wrong is one error, `RedisAwayError`, which every caller answers by doing without.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import cache
from hashlib import sha1
from typing import Any, TypeVar

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError

from bulkhead_runtime.errors import Problem

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

CONNECTIONS = 8
WATCHERS = 8
"""Connections that wait for notifications, beside those that ask."""

ANSWER_SECONDS = 0.5
"""Longer than Redis takes when it is well, even where this process is slow to look."""

FAILURES = 3
FIRST_REST_SECONDS = 0.5
LONGEST_REST_SECONDS = 10.0


class RedisAwayError(Exception):
    """Redis did not answer in time, or was not asked because it did not lately."""


class Link:
    """Connects to the address that `address` returns; all keys begin with `prefix`.

    Commands go straight over connections that are kept here: the client's own way takes as long as
    Redis does, for a pool with locks, retries and statistics that nobody needs twice. Each is
    answered within `answer_seconds`, or has failed.
    """

    def __init__(
        self,
        address: Callable[[], str],
        organization: str,
        *,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.prefix = f"bulkhead:{organization}:"
        self._address = address
        self._answer_seconds = answer_seconds
        self._client: Redis | None = None
        self._idle: list[AbstractConnection] = []
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._failures = 0
        self._rest_until = 0.0
        self.connected_since: int | None = None
        """Redis's time in microseconds; from then on no connection was seen to break.

        What is older may be what a Redis that was started again had on disk, or what one had that
        took over from another and was behind.
        """

    @property
    def away(self) -> bool:
        """Tell whether Redis is not asked for the moment, because it did not answer lately."""
        return time.monotonic() < self._rest_until

    async def ask(self, *command: bytes | str | int) -> Any:
        """Return the answer, text as bytes; raise `RedisAwayError` when it cannot be had."""
        return await self.at_once(lambda: self._answer(*command))

    async def run(self, script: str, key: str, *values: bytes | str | int) -> Any:
        """Return what a Lua script answers; raise `RedisAwayError` when it cannot be had."""

        async def answer() -> Any:
            try:
                return await self._answer("EVALSHA", _digest(script), 1, key, *values)
            except NoScriptError:
                return await self._answer("EVAL", script, 1, key, *values)

        return await self.at_once(answer)

    async def at_once(self, asked: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return what is answered at once; raise `RedisAwayError` otherwise."""
        try:
            async with self._places:
                if self.away:
                    raise RedisAwayError
                async with asyncio.timeout(self._answer_seconds):
                    answer = await asked()
        except (RedisError, OSError, TimeoutError, Problem, ValueError) as error:
            # The last two: no address is mounted, or none that is one.
            await self._failed(error)
            raise RedisAwayError from error
        if self._failures >= FAILURES:
            log.info("Redis answers again")
        self._failures = 0
        return answer

    def watcher(self) -> PubSub:
        """Return what waits for notifications, on a connection of its own."""
        return self._redis().pubsub(ignore_subscribe_messages=True)

    async def close(self) -> None:
        """Close every connection."""
        client, self._client = self._client, None
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect()
        if client is not None:
            await client.aclose()

    async def _answer(self, *command: bytes | str | int) -> Any:
        idle = self._idle
        connection = idle.pop() if idle else self._connect()
        try:
            if connection.is_connected and await connection.can_read():
                # Its end: nothing else comes unasked.
                await connection.disconnect(nowait=True)
                self.connected_since = None
            if self.connected_since is None:
                seconds, microseconds = await _said(connection, "TIME")
                self.connected_since = int(seconds) * 1_000_000 + int(microseconds)
            return await _said(connection, *command)
        finally:
            # Where it failed it is closed, and is opened again by the next command.
            if not connection.is_connected:
                self.connected_since = None
            if idle is self._idle:
                idle.append(connection)
            else:
                await connection.disconnect(nowait=True)

    def _connect(self) -> AbstractConnection:
        pool = self._redis().connection_pool
        connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
        return connection

    def _redis(self) -> Redis:
        if self._client is None:
            # No place in it is waited for and no timer of its own runs: both are bounded here.
            pool = ConnectionPool.from_url(
                self._address(),
                max_connections=WATCHERS,
                socket_timeout=None,
                socket_connect_timeout=self._answer_seconds,
                retry=Retry(NoBackoff(), 0),
                client_name="bulkhead-runtime",
            )
            self._client = Redis.from_pool(pool)
        return self._client

    async def _failed(self, error: Exception) -> None:
        self._failures += 1
        if isinstance(error, AuthenticationError):
            # The mounted address has another password by now, or soon.
            await self.close()
        if self._failures < FAILURES:
            return
        if self._failures == FAILURES:
            log.warning("Redis is away", extra={"reason": type(error).__name__})
        rest = FIRST_REST_SECONDS * 2 ** min(self._failures - FAILURES, 10)
        self._rest_until = time.monotonic() + min(rest, LONGEST_REST_SECONDS)


async def _said(connection: AbstractConnection, *command: bytes | str | int) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()


@cache
def _digest(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()
