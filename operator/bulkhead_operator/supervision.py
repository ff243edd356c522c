"""Keeps a part of the process running for ever: what ends or dies is started again, here.

Leaving that to the kubelet would turn an outage of the API server into a crash loop, whose waits
grow to five minutes.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import structlog

from bulkhead_operator.backoff import Backoff

FIRST_BACKOFF: Final = 0.5
LONGEST_BACKOFF: Final = 15.0
HEALTHY_SECONDS: Final = 60.0
"""A part that ran this long before it ended begins again with the shortest wait."""

_log = structlog.get_logger(__name__)


async def keep_running(
    name: str, part: Callable[[], Awaitable[None]], on_restart: Callable[[str], None]
) -> NoReturn:
    """Run `part` again whenever it returns or raises, after a jittered wait; until cancelled."""
    backoff = Backoff(FIRST_BACKOFF, LONGEST_BACKOFF)
    while True:
        began = time.monotonic()
        try:
            await part()
            _log.info("part ended and is started again", part=name)
        except Exception as error:  # noqa: BLE001 (whatever it was, the part has to come back)
            _log.warning(
                "part failed and is started again",
                part=name,
                error=f"{type(error).__name__}: {error}",
            )
        on_restart(name)
        if time.monotonic() - began > HEALTHY_SECONDS:
            backoff.reset()
        await asyncio.sleep(backoff.next())
