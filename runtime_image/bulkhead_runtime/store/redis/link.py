"""The way to Redis: short waits, and none at all for a while after several in vain.

Whatever goes wrong is one error, `RedisAwayError`, which every caller answers by doing without.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import AuthenticationError, RedisError

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
    """Connects to the address that `address` returns; all keys begin with `prefix`."""

    def __init__(self, address: Callable[[], str], organization: str) -> None:
        self.prefix = f"bulkhead:{organization}:"
        self._address = address
        self._client: Redis | None = None
        self._scripts: dict[str, AsyncScript] = {}
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._failures = 0
        self._rest_until = 0.0

    @property
    def away(self) -> bool:
        """Tell whether Redis is not asked for the moment, because it did not answer lately."""
        return time.monotonic() < self._rest_until

    async def ask(self, command: Callable[[Redis], Awaitable[Answer]]) -> Answer:
        """Return what Redis answers; raise `RedisAwayError` when it cannot be had at once."""
        try:
            async with self._places:
                if self.away:
                    raise RedisAwayError
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await command(self.client())
        except (RedisError, OSError, TimeoutError, Problem, ValueError) as error:
            # The last two: no address is mounted, or none that is one.
            await self._failed(error)
            raise RedisAwayError from error
        if self._failures >= FAILURES:
            log.info("Redis answers again")
        self._failures = 0
        return answer

    async def run(self, script: str, key: str, values: Sequence[Any]) -> Any:
        """Return what a Lua script answers; raise `RedisAwayError` when it cannot be had."""

        async def command(client: Redis) -> Any:
            known = self._scripts.get(script)
            if known is None:
                known = self._scripts[script] = client.register_script(script)
            return await known([key], values, client=client)

        return await self.ask(command)

    def client(self) -> Redis:
        """Return the client, for what waits longer than a question."""
        if self._client is None:
            # No place in it is waited for and no timer of its own runs: both are bounded here.
            pool = ConnectionPool.from_url(
                self._address(),
                max_connections=CONNECTIONS + WATCHERS,
                socket_timeout=None,
                socket_connect_timeout=ANSWER_SECONDS,
                retry=Retry(NoBackoff(), 0),
                client_name="bulkhead-runtime",
            )
            self._client = Redis.from_pool(pool)
        return self._client

    async def close(self) -> None:
        """Close every connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

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
