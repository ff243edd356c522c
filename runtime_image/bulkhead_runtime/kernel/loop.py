"""The agent loop: model, tools, model, until there is an answer or the rounds are used up."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.bounds import Wanted
from bulkhead_runtime.kernel.calls import ModelCalls, tool_context
from bulkhead_runtime.kernel.execution import Emit, Execution, Outcome, Token
from bulkhead_runtime.kernel.repeating import wait_before_repeat
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import (
    CacheScope,
    Finished,
    FinishReason,
    ModelMessage,
    ModelRequest,
    Part,
    TextDelta,
    ToolCall,
    ToolSpec,
)
from bulkhead_runtime.tools.port import ToolContext, ToolEnvelope, ToolFailure, Tools

MAX_CALLS_PER_ROUND = 32
"""More calls at once than any agent has tools are garbage, not work."""


@dataclass(slots=True)
class LoopState:
    """Where a loop stands; `messages` grows from `known` on with what this turn adds.

    The first `pinned` messages are told with every call. `repeats` is how often its first call may
    still be made again.
    """

    model: str
    messages: list[ModelMessage]
    known: int
    tools: tuple[ToolSpec, ...]
    max_iterations: int
    max_output_tokens: int
    temperature: float | None = None
    options: Mapping[str, Any] | None = None
    cache: CacheScope | None = None
    pinned: int = 0
    repeats: int = 0
    iteration: int = 0
    answer: str = ""
    finish_reason: FinishReason = "stop"
    outcome: Outcome = "completed"

    @property
    def added(self) -> tuple[ModelMessage, ...]:
        """Return the messages that this turn added, the user's first."""
        return tuple(self.messages[self.known :])

    @property
    def rounds_left(self) -> int:
        """Return how many calls of the model may follow, the next one included."""
        return self.max_iterations - self.iteration + 1

    def request(self) -> ModelRequest:
        """Return the next call of the model; its deadline is set by who calls."""
        return ModelRequest(
            model=self.model,
            messages=tuple(self.messages),
            max_output_tokens=self.max_output_tokens,
            deadline=0.0,
            tools=self.tools,
            temperature=self.temperature,
            options=self.options,
        )


Fit = Callable[[LoopState], None]
"""Leaves out of a state what the next call of its model would not take."""


@dataclass(slots=True)
class _Reply:
    texts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    finish_reason: FinishReason = "stop"


class AgentLoop:
    """Drives model and tools for one message."""

    def __init__(self, calls: ModelCalls, tools: Tools) -> None:
        self._calls = calls
        self._tools = tools

    async def run(self, execution: Execution, state: LoopState, fit: Fit, emit: Emit) -> None:
        """Bring `state` to its end; raise `ModelError` when the model fails."""
        context = tool_context(execution)
        while state.iteration < state.max_iterations:
            fit(state)
            state.iteration += 1
            reply = await self._ask_repeatedly(execution, state, emit)
            text = "".join(reply.texts)
            if not reply.calls:
                _answer(state, text)
                return
            if state.iteration == state.max_iterations:
                await _stop(state, text, emit)
                return
            state.messages.append(ModelMessage("assistant", text, tuple(reply.calls)))
            state.messages.extend(await self._run_tools(execution, reply.calls, state, context))

    async def _ask_repeatedly(self, execution: Execution, state: LoopState, emit: Emit) -> _Reply:
        """Ask again while nothing has come of the turn: no tool ran and nobody read a token."""
        made = 0
        while True:
            reply = _Reply()
            try:
                await self._ask_model(execution, state, emit, reply)
            except ModelError as error:
                untouched = state.iteration == 1 and not (reply.texts or reply.calls)
                if not untouched or made >= state.repeats:
                    raise
                wait = wait_before_repeat(error, made, execution.deadline - time.monotonic())
                if wait is None:
                    raise
            else:
                return reply
            made += 1
            await asyncio.sleep(wait)

    async def _ask_model(
        self, execution: Execution, state: LoopState, emit: Emit, reply: _Reply
    ) -> None:
        async def take(part: Part) -> None:
            match part:
                case TextDelta(text):
                    reply.texts.append(text)
                    await emit(Token(text))
                case ToolCall():
                    reply.calls.append(part)
                case Finished(reason, _):
                    state.finish_reason = reason

        state.model = await self._calls.stream(
            execution, state.request(), take, rounds=state.rounds_left, cache=state.cache
        )
        if len(reply.calls) > MAX_CALLS_PER_ROUND:
            raise ModelError(
                "garbage", f"The model asked for {len(reply.calls)} tool calls at once."
            )

    async def _run_tools(
        self,
        execution: Execution,
        calls: list[ToolCall],
        state: LoopState,
        context: ToolContext,
    ) -> list[ModelMessage]:
        refusal = await self._afford(execution, state, len(calls))
        offered = {tool.name for tool in state.tools}
        results = await asyncio.gather(
            *(
                self._run_tool(call, context, refusal or _not_offered(call, offered))
                for call in calls
            )
        )
        return [
            ModelMessage("tool", result, tool_call_id=call.id)
            for call, result in zip(calls, results, strict=True)
        ]

    async def _afford(
        self, execution: Execution, state: LoopState, calls: int
    ) -> ToolFailure | None:
        """Reserve calls of tools and, in the same step, of the model that reads their results.

        Returns what the model is told where there is no room.
        """
        need = self._calls.planned(execution, state.request()).need
        try:
            await execution.purse.afford(Wanted(need, calls), rounds=state.rounds_left)
        except Problem as problem:
            if problem.code != "budget_exceeded":
                raise
            return ToolFailure(problem.code, problem.message)
        return None

    async def _run_tool(
        self,
        call: ToolCall,
        context: ToolContext,
        refusal: ToolFailure | None,
    ) -> str:
        if refusal is not None:
            return ToolEnvelope(ok=False, error=refusal).for_model()
        envelope = await self._tools.run(call.name, call.arguments, context)
        return envelope.for_model()


def _not_offered(call: ToolCall, offered: set[str]) -> ToolFailure | None:
    if call.name in offered:
        return None
    return ToolFailure("unknown_tool", "This agent has no such tool.")


def _answer(state: LoopState, text: str) -> None:
    state.answer = text
    state.messages.append(ModelMessage("assistant", text))
    if state.finish_reason == "content_filter":
        state.outcome = "completed_with_errors"


async def _stop(state: LoopState, text: str, emit: Emit) -> None:
    """End a loop that still wants tools; the calls of the last round are not carried out."""
    notice = (
        f"I stopped after {state.max_iterations} rounds of model and tools without reaching an "
        "answer. Ask a narrower question, or raise the agent's maxIterations."
    )
    separator = "\n\n" if text else ""
    await emit(Token(separator + notice))
    state.answer = text + separator + notice
    state.messages.append(ModelMessage("assistant", state.answer))
    state.outcome = "completed_with_errors"
