"""What an image may do while it answers: call models on the account of its execution.

It has no key of its own. Each call of it gets a token that is worth nothing afterwards; models that
are called with it are planned, reserved and counted as if the execution had called them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.identifiers import random_hex
from bulkhead_runtime.kernel import failures
from bulkhead_runtime.kernel.calls import Take
from bulkhead_runtime.kernel.context import Principal
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.image_lane.wire import ModelAccess
from bulkhead_runtime.models.port import ModelRequest

PATH: Final = "/package/v1"
MAX_CALLS_AT_ONCE: Final = 16

ModelCall = Callable[[Execution, ModelRequest, Take], Coroutine[object, object, None]]
"""Calls a model for an execution; raises `ModelError`."""


class Grant(Struct):
    """One call of an image."""

    execution: Execution
    model_call: ModelCall
    _tasks: "set[asyncio.Task[None]]"

    @property
    def principal(self) -> Principal:
        """Return on whose behalf the image works."""
        return self.execution.context.principal

    async def call(self, request: ModelRequest, take: Take) -> None:
        """Hand every part of a model's answer to `take`; raise a `Problem` when it fails.

        The call ends with the image's own, so that whatever it takes is settled with it.
        """
        if len(self._tasks) >= MAX_CALLS_AT_ONCE:
            raise Problem(
                429,
                "too_many_calls",
                f"At most {MAX_CALLS_AT_ONCE} calls of models run at once for one execution.",
                retry_after=1,
            )
        task = asyncio.create_task(self.model_call(self.execution, request, take))
        self._tasks.add(task)
        try:
            await asyncio.wait([task])
        finally:
            self._tasks.discard(task)
            if not task.done():
                task.cancel()
        if task.cancelled():
            raise _ended()
        error = task.exception()
        if isinstance(error, ModelError):
            raise failures.as_problem(error) from error
        if error is not None:
            raise error

    async def close(self) -> None:
        """End what still runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Grants:
    """The tokens that are worth something now; `address` is this process's own, without a path.

    Without an address images are given none.
    """

    def __init__(self, address: str, model_call: ModelCall) -> None:
        self._address = address
        self._model_call = model_call
        self._grants: dict[str, Grant] = {}

    def find(self, token: str) -> Grant:
        """Return what a token stands for; raise a 401 `Problem` for one that is worth nothing."""
        grant = self._grants.get(token)
        if grant is None:
            raise _ended()
        return grant

    @asynccontextmanager
    async def given(self, execution: Execution) -> AsyncIterator[ModelAccess | None]:
        """Let an image call models until this ends; yields what it is told."""
        if not self._address:
            yield None
            return
        token = f"bhg_{random_hex(32)}"
        grant = self._grants[token] = Grant(execution, self._model_call, set())
        try:
            yield ModelAccess(f"{self._address}{PATH}", token)
        finally:
            del self._grants[token]
            await grant.close()


def _ended() -> Problem:
    return Problem(
        401,
        "grant_ended",
        "This token is worth nothing (any more): use the one of the call that is being answered.",
    )
