"""One question for everything that waits to be written.

An organization's writes run one after the other in PostgreSQL, so what arrives while one question
is under way goes together with the next: one round trip and one flush to disk for all of it. A
single caller waits for nobody.
"""

import asyncio
import logging
import math
import time
from collections import deque
from typing import Any

import orjson

from bulkhead_runtime import errors
from bulkhead_runtime.store.postgres.pool import Pool

log = logging.getLogger(__name__)

MAX_ITEMS = 64
MAX_BYTES = 4 * 1024 * 1024
MAX_WAITING = 10_000

_QUESTION = b"SELECT bulkhead.write($1, $2)"


class Epoch:
    """Which generation of cached entries is true; every answer of PostgreSQL tells it.

    Whoever could not change a cached entry calls `void`: the next write begins a new epoch, and
    entries of older ones are worth nothing to any replica.
    """

    def __init__(self) -> None:
        self.number = 0
        self.learned_at = -math.inf
        self.voids = 0
        self._voided = 0

    @property
    def stale(self) -> bool:
        """Tell whether the epoch has to end."""
        return self.voids > self._voided

    def void(self) -> None:
        """Let the next write end the epoch."""
        self.voids += 1

    def learn(self, number: int, *, voided: int) -> None:
        """Take over what PostgreSQL said in answer to a question that voided that many."""
        self.number = max(self.number, number)
        self.learned_at = time.monotonic()
        self._voided = max(self._voided, voided)


class Lane:
    """Writes items in the order in which they came."""

    def __init__(self, pool: Pool, epoch: Epoch) -> None:
        self._pool = pool
        self._epoch = epoch
        self._waiting: deque[tuple[bytes, asyncio.Future[Any]]] = deque()
        self._driver: asyncio.Task[None] | None = None

    async def do(self, item: bytes) -> Any:
        """Return the answer to one item, an encoded JSON object, once it is on disk.

        Raises a 503 or 507 `Problem` when that cannot be had; then it may be on disk or not.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise errors.store_unavailable("Too much waits to be written already.")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._driver is None:
            self._driver = asyncio.create_task(self._drive())
        return await future

    async def close(self) -> None:
        """Write what waits."""
        if self._driver is not None:
            await self._driver

    async def _drive(self) -> None:
        while batch := self._next_batch():
            try:
                answers = await self._ask([item for item, _ in batch])
                answered = list(zip(batch, answers, strict=True))
            except Exception as error:  # noqa: BLE001 (nobody else would tell those who wait)
                for _, future in batch:
                    if not future.done():
                        future.set_exception(_own(error))
                continue
            for (_, future), answer in answered:
                if not future.done():
                    future.set_result(answer)
        self._driver = None

    def _next_batch(self) -> list[tuple[bytes, asyncio.Future[Any]]]:
        batch: list[tuple[bytes, asyncio.Future[Any]]] = []
        size = 0
        while self._waiting and len(batch) < MAX_ITEMS and size < MAX_BYTES:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
                size += len(item)
        return batch

    async def _ask(self, items: list[bytes]) -> list[Any]:
        work = b"[" + b",".join(items) + b"]"
        voids = self._epoch.voids
        text = await self._pool.value(_QUESTION, (work, b"t" if self._epoch.stale else b"f"))
        assert text is not None
        answer = orjson.loads(text)
        self._epoch.learn(answer["epoch"], voided=voids)
        answers: list[Any] = answer["answers"]
        return answers


def _own(error: Exception) -> Exception:
    """Return an error for one of several who wait: each may add to its own."""
    if isinstance(error, errors.Problem):
        return errors.Problem(
            error.status, error.code, error.message, retry_after=error.retry_after
        )
    log.error("Writing failed", exc_info=error)
    return errors.store_unavailable("The conversation store could not be written.")
