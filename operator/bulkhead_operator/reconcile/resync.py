"""Looks at every key once per period even when nothing rang, spread evenly over the period.

This finds what no event tells: Secrets, which are not watched, and usage that runtimes report.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final

from bulkhead_operator.reconcile.keys import Key

TICK_SECONDS: Final = 1.0


async def resync(
    known: Callable[[], Sequence[Key]], ring: Callable[[Key], None], period: float
) -> None:
    """Ring every known key once per period in random order, until cancelled."""
    ticks = max(1, round(period / TICK_SECONDS))
    while True:
        for share in shares(known(), ticks):
            await asyncio.sleep(TICK_SECONDS)
            for key in share:
                ring(key)


def shares(keys: Sequence[Key], ticks: int) -> list[Sequence[Key]]:
    """Return the keys in random order, dealt out as evenly as whole keys allow."""
    shuffled = random.sample(keys, len(keys))
    return [shuffled[tick::ticks] for tick in range(ticks)]
