"""GET /v1/metrics/stream: metrics as they change, as server-sent events."""

from contextlib import aclosing
from typing import Final

from bulkhead_runtime.api import scopes
from bulkhead_runtime.api.events import KeepAlive
from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.api.query import parameters
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.runtime import Runtime

MAX_FOLLOWERS: Final = 100


class MetricFeed:
    """Answers with a stream that does not end; bounds how many follow at once."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._followers = 0

    async def answer(self, exchange: Exchange) -> None:
        """Write all metrics, then what changes, until the client leaves."""
        scopes.require(exchange.principal, scopes.USAGE_READ)
        parameters(exchange, known=())
        if self._followers >= MAX_FOLLOWERS:
            raise Problem(
                429,
                "too_many_followers",
                f"{MAX_FOLLOWERS} clients follow metrics already. Read GET /v1/metrics instead.",
                retry_after=10,
            )
        self._followers += 1
        try:
            with KeepAlive(exchange) as keep_alive:
                await exchange.start_events()
                await exchange.until_gone(self._write(exchange, keep_alive))
                await exchange.finish()
        finally:
            self._followers -= 1

    async def _write(self, exchange: Exchange, keep_alive: KeepAlive) -> None:
        """Write frames until the process is about to end."""
        async with aclosing(self._runtime.live.follow()) as frames:
            async for frame in frames:
                if self._runtime.draining:
                    return
                keep_alive.touch()
                await exchange.write(frame)
