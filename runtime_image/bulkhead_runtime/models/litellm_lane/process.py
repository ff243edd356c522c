"""Keeps the litellm process: started on first need, stopped when idle, restarted when it dies."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.litellm_lane import wire
from bulkhead_runtime.models.litellm_lane.child import ChildCall, LiteLLMChild, Timing

FIRST_BACKOFF_SECONDS: Final = 1.0
LONGEST_BACKOFF_SECONDS: Final = 60.0
MAX_COUNTED_FAILURES: Final = 10


class LiteLLMProcess:
    """The one litellm process of a runtime, whichever provider it serves."""

    def __init__(self, timing: Timing | None = None) -> None:
        self._timing = timing or Timing()
        self._child: LiteLLMChild | None = None
        self._starting: asyncio.Task[LiteLLMChild] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._failures = 0
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        """Return the process's id while it runs."""
        return self._child.pid if self._child is not None and self._child.alive else None

    @asynccontextmanager
    async def call(self, start: wire.Start, deadline: float) -> AsyncIterator[ChildCall]:
        """Run a call; leaving the context early cancels it at the provider.

        `deadline` is a time of `time.monotonic()`. Raises `ModelError`.
        """
        child = await self._running(deadline)
        call = child.begin(start)
        try:
            yield call
            self._failures = 0
        finally:
            child.end(call)
            self._stop_when_idle(child)

    async def aclose(self) -> None:
        """Stop the process; calls under way end with an error."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        if self._idle is not None:
            self._idle.cancel()
        if self._child is not None:
            await self._child.stop()
        if self._stopping is not None:
            await self._stopping

    async def _running(self, deadline: float) -> LiteLLMChild:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._child is not None and self._child.alive:
            return self._child
        if self._starting is None:
            if self._child is not None:
                self._child = None
                self._note_failure()
            self._refuse_too_early()
            self._starting = asyncio.create_task(self._start())
        try:
            # Shielded: one caller who leaves does not take the process from the others.
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await asyncio.shield(self._starting)
        except TimeoutError:
            raise ModelError(
                "timeout", "The process that translates for this provider is starting: try again."
            ) from None

    async def _start(self) -> LiteLLMChild:
        try:
            self._child = await LiteLLMChild.start(self._timing)
        except ModelError:
            self._note_failure()
            raise
        finally:
            self._starting = None
        return self._child

    def _note_failure(self) -> None:
        """Let the first restart happen at once and each further one later than the last."""
        wait = FIRST_BACKOFF_SECONDS * 2 ** (self._failures - 1) if self._failures else 0.0
        self._failures = min(self._failures + 1, MAX_COUNTED_FAILURES)
        self._not_before = time.monotonic() + min(wait, LONGEST_BACKOFF_SECONDS)

    def _refuse_too_early(self) -> None:
        wait = self._not_before - time.monotonic()
        if wait > 0:
            raise ModelError(
                "unavailable",
                "The process that translates for this provider ended and is about to be started "
                f"again: try again in {wait:.0f} seconds.",
                retry_after=wait,
            )

    def _stop_when_idle(self, child: LiteLLMChild) -> None:
        if child is self._child and not child.busy:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self._timing.idle, self._stop_idle, child)

    def _stop_idle(self, child: LiteLLMChild) -> None:
        self._idle = None
        if child is self._child and not child.busy:
            self._child = None
            self._stopping = asyncio.create_task(child.stop())
