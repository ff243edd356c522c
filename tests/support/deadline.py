"""Waiting for what another process does: poll with a deadline, never a bare sleep.

The deadline is long: it ends a test that would never end, and says nothing about how fast
something is, on a machine that may have ten times as much to do.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

_INTERVAL = 0.05


async def until(
    condition: Callable[[], Awaitable[object]], what: str, seconds: float = 120
) -> None:
    """Return as soon as `condition` holds; fail with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(_INTERVAL)
