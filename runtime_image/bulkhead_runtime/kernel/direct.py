"""Models addressed by name, without an agent: decoded part by part, or byte for byte."""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.kernel import failures
from bulkhead_runtime.kernel.execution import DIRECT, Execution
from bulkhead_runtime.kernel.middleware import Kernel
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import ByteRequest, ModelRequest, Part, Router, Usage, Write
from bulkhead_runtime.store.port import LedgerEntry, SessionStore
from bulkhead_runtime.telemetry.trace import Trace

Take = Callable[[Part], Awaitable[None]]

DEFAULT_OUTPUT_TOKENS: Final = 2_048


@dataclass(frozen=True, slots=True)
class PassthroughRequest:
    """A client's streaming chat completion as it came; `characters` of its longest message."""

    model: str
    body: Mapping[str, Any]
    answer_id: str
    include_usage: bool
    characters: int
    trace: Trace


class DirectModels:
    """Runs single model calls through the kernel."""

    def __init__(
        self, kernel: Kernel, router: Router, store: SessionStore, holder: ConfigurationHolder
    ) -> None:
        self._kernel = kernel
        self._router = router
        self._store = store
        self._holder = holder

    def can_pass_through(self, model: str) -> bool:
        """Tell whether the model's provider can stream byte for byte."""
        try:
            plan = self._router.plan(model, None, None)
        except ModelError as error:
            raise failures.as_problem(error) from error
        return self._router.has_byte_lane(plan)

    async def call(self, request: ModelRequest, trace: Trace, take: Take) -> None:
        """Hand every part of the answer to `take`; raise `Problem` when the model fails.

        The request's deadline is replaced by the organization's.
        """
        longest = max(len(message.content) for message in request.messages)
        execution = self._execution(request.model, longest, trace)

        async def work() -> None:
            bounded = _with_deadline(request, execution.deadline)
            async with aclosing(self._router.call(bounded, (request.model,)).stream()) as parts:
                async for part in parts:
                    if isinstance(part, Usage):
                        execution.usage.add(part)
                    await take(part)

        await self._run(execution, work)

    async def pass_through(self, request: PassthroughRequest, write: Write) -> None:
        """Write the answer's frames; raise `Problem` when the model fails or ends it early."""
        execution = self._execution(request.model, request.characters, request.trace)

        async def work() -> None:
            asked = ByteRequest(
                model=request.model,
                body=request.body,
                answer_id=request.answer_id,
                include_usage=request.include_usage,
                max_output_tokens=_output_limit(request.body),
                deadline=execution.deadline,
            )
            call = self._router.byte_call(asked, (request.model,))
            try:
                await call.run(write)
            finally:
                for spent in call.spent:
                    execution.usage.add(spent.usage)

        await self._run(execution, work)

    def _execution(self, model: str, characters: int, trace: Trace) -> Execution:
        configuration = self._holder.require()
        now = time.monotonic()
        deadline = now + configuration.limits.max_execution_time_seconds
        execution = Execution(configuration, trace, DIRECT, characters, now, deadline)
        execution.model = model
        return execution

    async def _run(self, execution: Execution, work: Callable[[], Awaitable[None]]) -> None:
        async def translated() -> None:
            try:
                await work()
            except ModelError as error:
                raise failures.as_problem(error) from error
            execution.outcome = "completed"

        try:
            await self._kernel.run(execution, translated)
        finally:
            self._record(execution)

    def _record(self, execution: Execution) -> None:
        usage = execution.usage
        if usage.input_tokens or usage.output_tokens:
            entry = LedgerEntry(
                agent=execution.agent,
                package="",
                version="",
                model=execution.model,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cost=usage.cost,
            )
            self._store.record_use(entry)


def _with_deadline(request: ModelRequest, deadline: float) -> ModelRequest:
    return ModelRequest(
        model=request.model,
        messages=request.messages,
        max_output_tokens=request.max_output_tokens,
        deadline=deadline,
        tools=request.tools,
        temperature=request.temperature,
        options=request.options,
    )


def _output_limit(body: Mapping[str, Any]) -> int:
    return int(body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_OUTPUT_TOKENS)
