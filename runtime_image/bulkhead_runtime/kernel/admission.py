"""Who may run now: a bounded number at once, a bounded queue in order of arrival, a rate.

All bounds are read when they are needed, so a changed configuration holds at once.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from bulkhead_runtime import errors
from bulkhead_runtime.telemetry.execution_metrics import QueueMetrics

WINDOW_SECONDS = 60
_MAX_RETRY_SECONDS = 60.0
_SMOOTHING = 0.1


class RateLeft(Struct, frozen=True):
    """How many of `limit` executions a minute may still begin, and when that grows again."""

    limit: int
    left: int
    reset_seconds: int


class Verdict(Protocol):
    """Whether something may happen now, and in how many seconds otherwise."""

    @property
    def admitted(self) -> bool:
        """Tell whether it may."""
        ...

    @property
    def left(self) -> int:
        """Return how many more may."""
        ...

    @property
    def retry_after(self) -> float:
        """Return the seconds until one may again."""
        ...


class Rates(Protocol):
    """Counts over all replicas."""

    async def admit(
        self, name: str, limit: int, *, seconds: int = 60, cost: int = 1
    ) -> Verdict | None:
        """Count unless that were more than `limit`; None where that cannot be known now."""
        ...


class RateWindow:
    """Counts executions started in the last 60 seconds, in steps of one second.

    The oldest step counts whole until it has left, so no 60 seconds ever hold more than the limit.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps: deque[tuple[int, int]] = deque()
        self._total = 0

    def admit(self, limit: int) -> None:
        """Count one execution; raise a 429 `Problem` when the limit is reached."""
        now = self._clock()
        second = math.floor(now)
        while self._steps and self._steps[0][0] <= second - WINDOW_SECONDS - 1:
            self._total -= self._steps.popleft()[1]
        if self._total >= limit:
            raise rate_limited(limit, self._steps[0][0] + WINDOW_SECONDS + 1 - now)
        if self._steps and self._steps[-1][0] == second:
            second, count = self._steps.pop()
            self._steps.append((second, count + 1))
        else:
            self._steps.append((second, 1))
        self._total += 1

    def left(self, limit: int) -> RateLeft:
        """Return what is left now."""
        oldest = self._steps[0][0] if self._steps else math.floor(self._clock())
        reset = math.ceil(oldest + WINDOW_SECONDS + 1 - self._clock())
        return RateLeft(limit, max(0, limit - self._total), max(0, reset))


def rate_limited(limit: int, retry_after: float) -> errors.Problem:
    """Return the answer to one execution too many within a minute."""
    return errors.Problem(
        429,
        "rate_limited",
        f"More than {limit} executions per minute were asked for "
        "(spec.limits.rateLimitPerMinute). Try again later.",
        retry_after=max(1.0, retry_after),
    )


class _Waiting(Struct, eq=False):
    """One that waits for its `turn` since a time of `time.monotonic()`."""

    turn: "asyncio.Future[None]"
    since: float


class Admission:
    """Places for executions; those beyond wait in order, those beyond the queue are refused."""

    def __init__(self, metrics: QueueMetrics) -> None:
        self.active = 0
        self.rate: RateLeft | None = None
        """What was left of the rate when it was asked about last."""

        self._metrics = metrics
        self._waiting: deque[_Waiting] = deque()
        self._places = 0
        self._average_seconds = 1.0

    @property
    def queued(self) -> int:
        """Return how many executions wait."""
        return len(self._waiting)

    @property
    def oldest_queued_seconds(self) -> float:
        """Return for how long the execution waits that waits longest, 0 where none does."""
        return time.monotonic() - self._waiting[0].since if self._waiting else 0.0

    def resize(self, places: int) -> None:
        """Follow another number of places; those who can run now do."""
        self._places = places
        self._wake()

    async def enter(self, places: int, max_queue: int) -> None:
        """Take one of `places` until `leave`; raise a 429 `Problem` when the queue is full."""
        self._places = places
        if self.active < places and not self._waiting:
            self.active += 1
            self._metrics.admitted(0.0)
        else:
            await self._wait(max_queue)

    def leave(self, seconds: float) -> None:
        """Give back a place that was held for so long."""
        self.active -= 1
        self._average_seconds += _SMOOTHING * (seconds - self._average_seconds)
        self._wake()

    async def _wait(self, max_queue: int) -> None:
        if len(self._waiting) >= max_queue:
            rounds = (len(self._waiting) + 1) / max(1, self._places)
            raise errors.Problem(
                429,
                "queue_full",
                f"{self.active} executions run and {len(self._waiting)} wait already "
                "(spec.limits.maxConcurrentAgents, spec.limits.maxQueueSize). Try again later.",
                retry_after=min(_MAX_RETRY_SECONDS, max(1.0, rounds * self._average_seconds)),
            )
        waiting = _Waiting(asyncio.get_running_loop().create_future(), time.monotonic())
        self._waiting.append(waiting)
        self._metrics.queued()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled():
                self.active -= 1
                self._wake()
            else:
                self._waiting.remove(waiting)
            raise
        self._metrics.admitted(time.monotonic() - waiting.since)

    def _wake(self) -> None:
        while self._waiting and self.active < self._places:
            turn = self._waiting.popleft().turn
            if not turn.done():
                self.active += 1
                turn.set_result(None)


class SessionGate:
    """Lets the turns of one session through one after the other, in order of arrival."""

    def __init__(self) -> None:
        self._gates: dict[str, tuple[asyncio.Lock, int]] = {}
        self._waiting = 0

    async def enter(self, session_id: str, max_waiting: int) -> None:
        """Hold the session until `leave`; raise a 429 `Problem` when too many turns wait."""
        lock, holders = self._gates.get(session_id) or (asyncio.Lock(), 0)
        if holders and self._waiting >= max_waiting:
            raise errors.Problem(
                429,
                "queue_full",
                f"{self._waiting} messages wait for the turn before theirs already "
                "(spec.limits.maxQueueSize). Try again later.",
                retry_after=1,
            )
        self._gates[session_id] = (lock, holders + 1)
        self._waiting += 1
        try:
            await lock.acquire()
        except BaseException:
            self._forget(session_id)
            raise
        finally:
            self._waiting -= 1

    def leave(self, session_id: str) -> None:
        """Let the next turn through."""
        lock, _ = self._gates[session_id]
        lock.release()
        self._forget(session_id)

    def _forget(self, session_id: str) -> None:
        lock, holders = self._gates[session_id]
        if holders == 1:
            del self._gates[session_id]
        else:
            self._gates[session_id] = (lock, holders - 1)
