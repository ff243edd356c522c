"""Carries an interruption to whichever replica runs the turn.

The wish lies in the store, for one turn by its fence, so that it is never lost and never hits the
turn after. Notifications only say when to look: where none can be had (PgBouncer's transaction mode
knows no LISTEN), a replica looks by itself, and only while turns run there that take their time.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, Protocol

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel import refusals
from bulkhead_runtime.kernel.background import Background
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.store.port import Turn
from bulkhead_runtime.store.postgres.signals import Signals

log = logging.getLogger(__name__)

TOPIC: Final = "interruptions"

FIRST_LOOK_SECONDS: Final = 0.25
"""Turns that end sooner cost no question."""

LOOK_AGAIN_SECONDS: Final = 2.0
"""The longest wait for a notification: who could send it may have died."""


class Wishes(Protocol):
    """The part of the store that keeps wishes."""

    async def interrupt(self, session_id: str) -> bool:
        """Ask for the end of the turn that runs; False where none does."""
        ...

    async def interrupted(self, turns: tuple[Turn, ...]) -> frozenset[str]:
        """Return the sessions of `turns` that were asked to end, or that were deleted."""
        ...


class Interruptions:
    """Listens while turns run here; `running` are those, by session."""

    def __init__(self, store: Wishes, signals: Signals, background: Background) -> None:
        self.running: dict[str, Execution] = {}
        self._store = store
        self._signals = signals
        self._background = background
        self._timer: asyncio.TimerHandle | None = None
        self._listening: asyncio.Task[None] | None = None

    def began(self, session_id: str, execution: Execution) -> None:
        """Let the turn of a session be interrupted."""
        self.running[session_id] = execution
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(FIRST_LOOK_SECONDS, self._listen)

    def ended(self, session_id: str) -> None:
        """Forget a turn; without any nobody listens."""
        self.running.pop(session_id, None)
        if self.running or self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    async def ask(self, session_id: str) -> bool:
        """End the turn of a session, here or elsewhere; False where none runs."""
        execution = self.running.get(session_id)
        if execution is not None:
            execution.end(refusals.interrupted())
            return True
        if not await self._store.interrupt(session_id):
            return False
        await self._signals.tell(TOPIC)
        return True

    def _listen(self) -> None:
        self._listening = self._background.spawn(self._follow())

    async def _follow(self) -> None:
        async with self._signals.watching(TOPIC) as signal:
            while True:
                try:
                    await self._look()
                except Problem as problem:
                    log.warning("Interruptions not read", extra={"reason": problem.message})
                await signal.wait(LOOK_AGAIN_SECONDS)

    async def _look(self) -> None:
        turns = _turns(self.running)
        for session_id in await self._store.interrupted(turns):
            execution = self.running.get(session_id)
            if execution is not None and execution.turn in turns:
                execution.end(refusals.interrupted())


def _turns(running: Mapping[str, Execution]) -> tuple[Turn, ...]:
    # Of a list, as in events/bus.py.
    return (*(one.turn for one in running.values() if one.turn is not None),)
