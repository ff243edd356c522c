"""Models addressed by name, without an agent: decoded part by part, or byte for byte."""

from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec.structs import replace

from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.kernel.bounds import Wanted
from bulkhead_runtime.kernel.calls import ModelCalls, Planned, Request, Take
from bulkhead_runtime.kernel.execution import Execution, UsageTotal
from bulkhead_runtime.kernel.executions import Executions
from bulkhead_runtime.kernel.middleware import Kernel
from bulkhead_runtime.kernel.requests import DirectRequest, PassthroughRequest
from bulkhead_runtime.kernel.settlement import Opening, Remembered
from bulkhead_runtime.models.port import ByteRequest, ModelRequest, Router, Write
from bulkhead_runtime.store.port import Turn

Asked = TypeVar("Asked", bound=Request)
Taker = TypeVar("Taker")

Asking = Callable[[], object]
"""Is called when nothing but the model is waited for any more."""


def _unheard() -> None:
    """Do nothing."""


class DirectModels:
    """Runs single model calls through the kernel."""

    def __init__(
        self,
        kernel: Kernel,
        calls: ModelCalls,
        router: Router,
        holder: ConfigurationHolder,
        executions: Executions,
    ) -> None:
        self._kernel = kernel
        self._calls = calls
        self._router = router
        self._holder = holder
        self._executions = executions

    def can_pass_through(self, model: str) -> bool:
        """Tell whether every model that may have to answer can stream byte for byte."""
        cheaper = self._holder.require().source.budgets.cheaper_model
        return self._router.has_byte_lane(model) and (
            cheaper is None or self._router.has_byte_lane(cheaper)
        )

    async def call(
        self, request: DirectRequest, take: Take, asking: Asking = _unheard
    ) -> UsageTotal:
        """Hand every part of the answer to `take`; raise `Problem` when the model fails."""
        asked = request.model_request
        execution = self._executions.direct(
            self._holder.require(),
            request.caller,
            "models:call",
            model=asked.model,
            texts=tuple(message.content for message in asked.messages),
        )
        return await self._kernel.run(execution, _Call(self._calls, execution, asked, take, asking))

    async def pass_through(
        self, request: PassthroughRequest, write: Write, asking: Asking = _unheard
    ) -> UsageTotal:
        """Write the answer's frames; raise `Problem` when the model fails or ends it early."""
        execution = self._executions.direct(
            self._holder.require(),
            request.caller,
            "models:call",
            model=request.model,
            texts=tuple(message.content for message in request.messages),
        )
        asked = ByteRequest(
            model=request.model,
            body=request.body,
            answer_id=request.answer_id,
            include_usage=request.include_usage,
            max_output_tokens=request.max_output_tokens,
            deadline=execution.deadline,
        )
        work = _PassThrough(self._calls, execution, asked, write, asking)
        return await self._kernel.run(execution, work)


class _DirectWork(Generic[Asked, Taker]):
    """One call of a model."""

    __slots__ = ("asked", "asking", "calls", "execution", "planned", "take")

    def __init__(
        self,
        calls: ModelCalls,
        execution: Execution,
        asked: Asked,
        take: Taker,
        asking: Asking,
    ) -> None:
        self.asking = asking
        self.calls = calls
        self.execution = execution
        self.asked = asked
        self.take = take
        self.planned: Planned

    def opening(self) -> Opening:
        """Return what is reserved."""
        self.planned = self.calls.planned(self.execution, self.asked)
        return Opening(Wanted(self.planned.need, seconds=self.execution.seconds()))

    def follow_steps(self) -> None:
        """Plan anew where a step of the budget has changed the model meanwhile."""
        if self.execution.model != self.asked.model:
            self.asked = replace(self.asked, model=self.execution.model)
            self.planned = self.calls.planned(self.execution, self.asked)

    def remembered(self) -> Remembered:
        """Return nothing."""
        return Remembered()

    def stored(self) -> None:
        """Do nothing."""

    def completed(self) -> UsageTotal:
        """Note that all went well and return what it took."""
        self.execution.outcome = "completed"
        return self.execution.usage


class _Call(_DirectWork[ModelRequest, Take]):
    """A call whose answer is decoded part by part."""

    __slots__ = ()

    async def run(self, _: Turn | None) -> UsageTotal:
        """Call the model."""
        self.follow_steps()
        self.asking()
        await self.calls.stream(self.execution, self.asked, self.take, planned=self.planned)
        return self.completed()


class _PassThrough(_DirectWork[ByteRequest, Write]):
    """A call whose answer goes on byte for byte."""

    __slots__ = ()

    async def run(self, _: Turn | None) -> UsageTotal:
        """Pass the model's bytes on."""
        self.follow_steps()
        self.asking()
        await self.calls.bytes(self.execution, self.asked, self.take, planned=self.planned)
        return self.completed()
