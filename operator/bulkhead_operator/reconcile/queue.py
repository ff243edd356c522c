"""Runs a reconcile per key: each key once, at most so many at a time, what people did first.

A key that is rung while it is at work runs again afterwards. Two lanes: the interactive one goes
first, but every tenth start and at most half of the workers belong to resync, so that neither
starves the other. A failure is retried for ever with jittered backoff; a bug in one reconcile is
logged and never stops the others.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from bulkhead_operator.backoff import Backoff
from bulkhead_operator.errors import ClusterError, LeaseLost, NotReadyYet
from bulkhead_operator.queue_metrics import QueueMetrics
from bulkhead_operator.reconcile.keys import DONE, ORGANIZATION, Key, Outcome, Reconcile

Lane = Literal["interactive", "resync"]

FIRST_BACKOFF: Final = 0.5
LONGEST_BACKOFF: Final = 300.0
RESYNC_EVERY: Final = 10

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Later:
    at: float
    timer: asyncio.TimerHandle


class Queue:
    """Keys that wait, keys at work, and keys that are looked at later."""

    def __init__(
        self,
        reconcilers: Mapping[str, Reconcile],
        *,
        workers: int,
        metrics: QueueMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reconcilers = reconcilers
        self._workers = workers
        self._resync_workers = max(1, workers // 2)
        self._metrics = metrics
        self._clock = clock
        self._lanes: dict[Lane, dict[Key, float]] = {"interactive": {}, "resync": {}}
        self._working: dict[Key, tuple[asyncio.Task[None], Lane]] = {}
        self._again: dict[Key, Lane] = {}
        self._later: dict[Key, _Later] = {}
        self._backoffs: dict[Key, Backoff] = {}
        self._started = 0
        self._open = False

    def open(self) -> None:
        """Begin to work on what waits."""
        self._open = True
        self._pump()

    def ring(self, key: Key, lane: Lane = "interactive") -> None:
        """Ask for a reconcile of the key, now."""
        if key in self._working:
            if self._again.get(key) != "interactive":
                self._again[key] = lane
            return
        if key in self._lanes["interactive"]:
            return
        rung_at = self._lanes["resync"].pop(key, None) if lane == "interactive" else None
        waiting = self._lanes[lane]
        if key not in waiting:
            waiting[key] = self._clock() if rung_at is None else rung_at
            self._metrics.adds.labels(lane).inc()
        self._pump()

    def idle(self) -> bool:
        """Tell whether nothing waits and nothing is at work; later looks do not count."""
        return not self._working and not any(self._lanes.values())

    async def close(self, seconds: float) -> None:
        """Start nothing more, let what runs finish for so many seconds, then cancel it."""
        self._open = False
        for later in self._later.values():
            later.timer.cancel()
        self._later.clear()
        tasks = [task for task, _ in self._working.values()]
        if not tasks:
            return
        _, unfinished = await asyncio.wait(tasks, timeout=seconds)
        for task in unfinished:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*unfinished, return_exceptions=True)

    def _pump(self) -> None:
        while self._open and len(self._working) < self._workers:
            lane = self._next_lane()
            if lane is None:
                break
            key = next(iter(self._lanes[lane]))
            rung_at = self._lanes[lane].pop(key)
            self._metrics.seconds.labels(lane).observe(self._clock() - rung_at)
            self._start(key, lane)
        for lane, waiting in self._lanes.items():
            self._metrics.depth.labels(lane).set(len(waiting))

    def _next_lane(self) -> Lane | None:
        resyncing = sum(1 for _, lane in self._working.values() if lane == "resync")
        may_resync = self._lanes["resync"] and resyncing < self._resync_workers
        if may_resync and (
            not self._lanes["interactive"] or self._started % RESYNC_EVERY == RESYNC_EVERY - 1
        ):
            return "resync"
        return "interactive" if self._lanes["interactive"] else None

    def _start(self, key: Key, lane: Lane) -> None:
        self._started += 1
        later = self._later.pop(key, None)
        if later is not None:
            later.timer.cancel()
        task = asyncio.get_running_loop().create_task(self._work(key), name=f"{key}")
        self._working[key] = (task, lane)
        self._metrics.active_workers.labels(key.kind.lower()).inc()
        task.add_done_callback(lambda _: self._ended(key))

    def _ended(self, key: Key) -> None:
        del self._working[key]
        self._metrics.active_workers.labels(key.kind.lower()).dec()
        lane = self._again.pop(key, None)
        if lane is not None:
            self.ring(key, lane)
        else:
            self._pump()

    async def _work(self, key: Key) -> None:
        began = self._clock()
        structlog.contextvars.bind_contextvars(**_ids(key))
        try:
            outcome = await self._reconciled(key)
        except LeaseLost:
            self._count_failure(key)
        except ClusterError as error:
            self._failed(key, error.message)
        except TimeoutError:
            self._failed(key, "something did not answer in time")
        except Exception:  # noqa: BLE001 (the outermost loop: logged and retried)
            _log.exception("reconcile failed unexpectedly")
            self._failed(key, "see the exception")
        else:
            self._succeeded(key, outcome)
        finally:
            seconds = self._clock() - began
            self._metrics.reconcile_seconds.labels(key.kind.lower()).observe(seconds)

    async def _reconciled(self, key: Key) -> Outcome:
        try:
            return await self._reconcilers[key.kind](key)
        except NotReadyYet as wait:
            return Outcome(wait.delay) if wait.delay is not None else DONE

    def _succeeded(self, key: Key, outcome: Outcome) -> None:
        self._backoffs.pop(key, None)
        result = "success" if outcome.requeue_after is None else "requeue_after"
        self._metrics.reconciles.labels(key.kind.lower(), result).inc()
        if outcome.requeue_after is not None:
            self._look_again(key, outcome.requeue_after)

    def _failed(self, key: Key, reason: str) -> None:
        self._count_failure(key)
        wait = self._backoffs.setdefault(key, Backoff(FIRST_BACKOFF, LONGEST_BACKOFF)).next()
        self._metrics.retries.labels("interactive").inc()
        _log.warning("reconcile failed", error=reason, retry_seconds=round(wait, 1))
        self._look_again(key, wait)

    def _count_failure(self, key: Key) -> None:
        self._metrics.reconciles.labels(key.kind.lower(), "error").inc()
        self._metrics.errors.labels(key.kind.lower()).inc()

    def _look_again(self, key: Key, seconds: float) -> None:
        if not self._open:
            return
        timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._due, key)
        self._later[key] = _Later(self._clock() + seconds, timer)

    def _due(self, key: Key) -> None:
        self._later.pop(key, None)
        self.ring(key)


def _ids(key: Key) -> dict[str, str]:
    ids = {"kind": key.kind, "name": key.name}
    if key.namespace is not None:
        ids["namespace"] = key.namespace
    if key.kind == ORGANIZATION:
        ids["organization"] = key.name
    return ids
