"""Settlement that nobody waits for: many executions in one step of the store.

An answer that is remembered nowhere is complete before its ledger line is written. Such lines wait
a moment for others, so that a busy organization's accounts, which all of them count in, are
changed once for many. While the store is away they wait for it, and no more such work begins.
"""

import asyncio
import itertools
from decimal import Decimal
from typing import Final

from bulkhead_runtime.errors import Problem, store_unavailable
from bulkhead_runtime.kernel.background import Background
from bulkhead_runtime.store.port import PoolBounds
from bulkhead_runtime.store.spending import Dimension, Finish, SpendingStore

GATHERED_SECONDS: Final = 0.02
AT_ONCE: Final = 200
"""How many executions one step of the store settles."""

_ATTEMPTS: Final = 5
"""So often the store is asked what it refuses for good, or what a lease settles where it cannot."""

_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 8.0

_Accounts = tuple[tuple[str, str], ...]


class DeferredSettlement:
    """Gathers the ends of executions; what one has reserved is settled by itself."""

    def __init__(
        self,
        store: SpendingStore,
        background: Background,
        *,
        pause_seconds: float = _PAUSE_SECONDS,
    ) -> None:
        self._store = store
        self._background = background
        self._pause_seconds = pause_seconds
        self._waiting: dict[_Accounts, list[Finish]] = {}
        self._overdue: set[str] = set()

    def require_store(self) -> None:
        """Raise a 503 `Problem` while the store does not take what was used before."""
        if self._overdue:
            raise store_unavailable("The store that counts what is used is away: try again.")

    def add(self, finish: Finish, bounds: PoolBounds, *, reserved: bool) -> None:
        """Settle soon; a store that is away loses nothing.

        What is reserved counts in full where nobody can settle it before its lease ends.
        """
        if reserved:
            self._background.spawn(self._settle(finish, bounds, leased=True))
            return
        if not self._waiting:
            self._background.spawn(self._settle_soon(bounds))
        drawn_on = tuple([(account.scope, account.key) for account in finish.accounts])
        self._waiting.setdefault(drawn_on, []).append(finish)

    async def _settle_soon(self, bounds: PoolBounds) -> None:
        await asyncio.sleep(GATHERED_SECONDS)
        waiting, self._waiting = self._waiting, {}
        for finishes in waiting.values():
            for first in range(0, len(finishes), AT_ONCE):
                merged = _merged(finishes[first : first + AT_ONCE])
                self._background.spawn(self._settle(merged, bounds, leased=False))

    async def _settle(self, finish: Finish, bounds: PoolBounds, *, leased: bool) -> None:
        try:
            for attempt in itertools.count(1):
                try:
                    await self._store.finish(finish, bounds)
                except Problem as problem:
                    waits = problem.retry_after is not None and not leased
                    if attempt >= _ATTEMPTS and (not waits or self._background.finishing):
                        raise
                    if waits:
                        self._overdue.add(finish.reservation_id)
                else:
                    return
                pause = self._pause_seconds * 2 ** min(attempt, _ATTEMPTS)
                await asyncio.sleep(min(pause, _LONGEST_PAUSE_SECONDS))
        finally:
            self._overdue.discard(finish.reservation_id)


def _merged(finishes: list[Finish]) -> Finish:
    """Return one end for all, under the first one's id; limits are those of the latest."""
    return Finish(
        reservation_id=finishes[0].reservation_id,
        accounts=finishes[-1].accounts,
        used=_sum(finishes),
        lines=(*(line for finish in finishes for line in finish.lines),),  # as in events/bus.py
    )


def _sum(finishes: list[Finish]) -> dict[Dimension, Decimal]:
    total: dict[Dimension, Decimal] = {}
    for finish in finishes:
        for dimension, amount in finish.used.items():
            total[dimension] = total.get(dimension, Decimal(0)) + amount
    return total
