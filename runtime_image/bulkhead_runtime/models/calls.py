"""One call over the models of a plan: which is asked, when once more, and when the next instead.

Until the first token a failure is hidden behind the next try; from then on it ends the call, for
no other model can continue what a caller has already read.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import (
    ByteRequest,
    ModelRequest,
    OnSwitch,
    Part,
    Spent,
    Write,
)
from bulkhead_runtime.models.tries import Attempt, ByteLane, Targets, Tries

Learn = Callable[[ModelRequest, int], None]
"""Is told the input tokens that a provider counted for a request."""


class PlannedCall:
    """Yields the answer's parts; implements `port.ModelCall`."""

    def __init__(
        self,
        targets: Targets,
        request: ModelRequest,
        plan: tuple[str, ...],
        on_switch: OnSwitch | None,
        learn: Learn,
    ) -> None:
        self._tries = Tries(targets, request, plan, on_switch)
        self._learn = learn

    @property
    def model(self) -> str:
        """Return the PROVIDER/MODEL that was asked last."""
        return self._tries.request.model

    @property
    def spent(self) -> tuple[Spent, ...]:
        """Return what was taken so far, whole once the call has ended."""
        return tuple(self._tries.spent)

    async def stream(self) -> AsyncGenerator[Part, None]:
        """Yield the parts of the answer, once; raise `ModelError` when no model answers.

        Closing the iterator ends the call at the provider.
        """
        tries = self._tries
        while True:
            attempt = await tries.begin()
            stream = attempt.target.client.stream(attempt.request, attempt.meter)
            try:
                async with aclosing(stream) as parts:
                    async for part in parts:
                        yield part
            except ModelError as error:
                await tries.failed(attempt, error)
            except BaseException:
                tries.abandoned(attempt)
                raise
            else:
                tries.succeeded(attempt)
                usage = attempt.meter.usage
                if usage is not None and not usage.estimated:
                    self._learn(attempt.request, usage.input_tokens)
                return


class PlannedByteCall:
    """Writes the answer's bytes; implements `port.ByteCall`."""

    __slots__ = ("_tries",)

    def __init__(
        self,
        targets: Targets,
        request: ByteRequest,
        plan: tuple[str, ...],
        on_switch: OnSwitch | None,
    ) -> None:
        self._tries = Tries(targets, request, plan, on_switch)

    @property
    def model(self) -> str:
        """Return the PROVIDER/MODEL that was asked last."""
        return self._tries.request.model

    @property
    def spent(self) -> tuple[Spent, ...]:
        """Return what was taken so far, whole once the call has ended."""
        return tuple(self._tries.spent)

    async def run(self, write: Write) -> None:
        """Write the answer's frames, once; raise `ModelError` when no model answers."""
        tries = self._tries
        while True:
            attempt = await tries.begin()
            try:
                await _byte_lane(attempt)(attempt.request, write, attempt.meter)
            except ModelError as error:
                await tries.failed(attempt, error)
            except BaseException:
                tries.abandoned(attempt)
                raise
            else:
                tries.succeeded(attempt)
                return


def _byte_lane(attempt: Attempt[ByteRequest]) -> ByteLane:
    if attempt.target.byte_lane is None:
        name = attempt.request.model
        raise ModelError("unknown_model", f"Model {name!r} does not stream byte for byte.")
    return attempt.target.byte_lane
