"""Notifications between replicas: a message per session let go and per request answered."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from bulkhead_runtime.store.postgres.signals import Pause, Signal, Signals
from bulkhead_runtime.store.redis.link import ANSWER_SECONDS, WATCHERS, Link, RedisAwayError

LOOK_AGAIN_SECONDS = 2.0
"""Who could tell may have died, or may not reach Redis."""


class Notifications(Signals):
    """Watches and tells over Redis; as if there were none where it is away or too many watch."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._watchers = 0

    async def tell(self, topic: str) -> None:
        """Wake who watches a topic, if Redis can be had."""
        try:
            await self._link.ask("PUBLISH", self._link.prefix + topic, b"")
        except RedisAwayError:
            return

    @asynccontextmanager
    async def watching(self, topic: str) -> AsyncIterator[Signal]:
        """Watch a topic; look after entering, wait, look again."""
        subscription = await self._subscribe(self._link.prefix + topic)
        if subscription is None:
            yield Pause()
            return
        try:
            yield _Subscribed(subscription)
        finally:
            self._watchers -= 1
            await subscription.aclose()  # type: ignore[no-untyped-call]

    async def _subscribe(self, channel: str) -> PubSub | None:
        if self._watchers >= WATCHERS:
            return None
        self._watchers += 1
        subscription = self._link.watcher()
        try:
            await self._link.at_once(lambda: subscription.subscribe(channel))
        except BaseException as error:
            self._watchers -= 1
            await subscription.aclose()  # type: ignore[no-untyped-call]
            if isinstance(error, RedisAwayError):
                return None
            raise
        return subscription


class _Subscribed:
    def __init__(self, subscription: PubSub) -> None:
        self._subscription = subscription

    async def wait(self, seconds: float) -> None:
        most = min(seconds, LOOK_AGAIN_SECONDS)
        end = time.monotonic() + most
        try:
            # A connection that is lost is made again inside, where nothing else bounds it.
            async with asyncio.timeout(most + ANSWER_SECONDS):
                while (left := end - time.monotonic()) > 0:
                    if await self._subscription.get_message(timeout=left) is not None:
                        return
        except (TimeoutError, RedisError, OSError):
            await Pause().wait(seconds)
