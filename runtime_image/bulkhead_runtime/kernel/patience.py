"""Waits a bounded time for what another process holds: a session's turn, a request's answer.

In one process both are waited for without asking the store; between processes the store says that
somebody else is at it, and a signal, where one can be had, when to look again.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.kernel.purse import ClaimTaken
from bulkhead_runtime.store.postgres.signals import Signals, claim_topic, session_topic

WAIT_SECONDS: Final = 10.0

Result = TypeVar("Result")


async def patiently(
    execution: Execution, begin: Callable[[], Awaitable[Result]], signals: Signals
) -> Result:
    """Return what `begin` returns, trying again while another process is at it."""
    try:
        return await begin()
    except (ClaimTaken, Problem) as error:
        topic = _held_elsewhere(execution, error)
        if topic is None:
            raise
    give_up = time.monotonic() + WAIT_SECONDS
    async with signals.watching(topic) as signal:
        while True:
            try:
                return await begin()
            except (ClaimTaken, Problem) as error:
                left = give_up - time.monotonic()
                if left <= 0 or _held_elsewhere(execution, error) is None:
                    raise
            await signal.wait(left)


def _held_elsewhere(execution: Execution, error: ClaimTaken | Problem) -> str | None:
    """Return what tells that it is free, None for what waiting does not change."""
    if isinstance(error, ClaimTaken):
        if error.refused.reason != "in_flight" or execution.claim is None:
            return None
        return claim_topic(execution.claim)
    if error.code != "session_busy" or execution.session_id is None:
        return None
    return session_topic(execution.session_id)
