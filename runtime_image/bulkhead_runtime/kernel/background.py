"""Work that outlives the request that began it, and is waited for at the end of the process."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from bulkhead_runtime.errors import Problem

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Background:
    """Keeps tasks alive until they are done; each is bounded by what it awaits.

    `finishing` tells that the process waits for them to end.
    """

    def __init__(self) -> None:
        self.finishing = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Start `work` that nobody awaits; its failure is logged."""
        task = self.begin(work)
        task.add_done_callback(_log_failure)
        return task

    def begin(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Start `work` whose failure is for whoever awaits it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def complete(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return what `work` returns; it goes on by itself when whoever awaits it is cancelled."""
        task = self.begin(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    async def finish(self) -> None:
        """Wait until everything has ended."""
        self.finishing = True
        while self._tasks:
            await asyncio.wait(self._tasks)


def _log_failure(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if isinstance(error, Problem):
        log.warning("Background work failed", extra={"reason": error.message})
    elif error is not None:
        log.error("Background work failed", exc_info=error)
