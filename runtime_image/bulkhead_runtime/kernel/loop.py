"""The agent loop: model, tools, model, until there is an answer or the rounds are used up."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field

import orjson

from bulkhead_runtime.kernel.execution import Emit, Outcome, Token, UsageTotal
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import (
    Finished,
    FinishReason,
    ModelMessage,
    ModelRequest,
    Router,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)
from bulkhead_runtime.tools.port import ToolContext, Tools

MAX_CALLS_PER_ROUND = 32
"""More calls at once than any agent has tools are garbage, not work."""


@dataclass(slots=True)
class LoopState:
    """Where a loop stands; `messages` grows from `known` on with what this turn adds."""

    model: str
    messages: list[ModelMessage]
    known: int
    tools: tuple[ToolSpec, ...]
    max_iterations: int
    max_output_tokens: int
    deadline: float
    usage: UsageTotal
    temperature: float | None = None
    iteration: int = 0
    answer: str = ""
    answered_by: str = ""
    finish_reason: FinishReason = "stop"
    outcome: Outcome = "completed"

    @property
    def added(self) -> tuple[ModelMessage, ...]:
        """Return the messages that this turn added, the user's first."""
        return tuple(self.messages[self.known :])


@dataclass(slots=True)
class _Reply:
    texts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)


class AgentLoop:
    """Drives model and tools for one message."""

    def __init__(self, router: Router, tools: Tools) -> None:
        self._router = router
        self._tools = tools

    async def run(self, state: LoopState, context: ToolContext, emit: Emit) -> None:
        """Bring `state` to its end; raise `ModelError` when the model fails."""
        while state.iteration < state.max_iterations:
            state.iteration += 1
            reply = await self._ask_model(state, emit)
            text = "".join(reply.texts)
            if not reply.calls:
                _answer(state, text)
                return
            if state.iteration == state.max_iterations:
                await _stop(state, text, emit)
                return
            state.messages.append(ModelMessage("assistant", text, tuple(reply.calls)))
            state.messages.extend(await self._run_tools(reply.calls, state, context))

    async def _ask_model(self, state: LoopState, emit: Emit) -> _Reply:
        reply = _Reply()
        request = ModelRequest(
            model=state.model,
            messages=tuple(state.messages),
            max_output_tokens=state.max_output_tokens,
            deadline=state.deadline,
            tools=state.tools,
            temperature=state.temperature,
        )
        async with aclosing(self._router.call(request, (state.model,)).stream()) as parts:
            async for part in parts:
                match part:
                    case TextDelta(text):
                        reply.texts.append(text)
                        await emit(Token(text))
                    case ToolCall():
                        reply.calls.append(part)
                    case Usage():
                        state.usage.add(part)
                    case Finished(reason, model):
                        state.finish_reason, state.answered_by = reason, model
        if len(reply.calls) > MAX_CALLS_PER_ROUND:
            raise ModelError(
                "garbage", f"The model asked for {len(reply.calls)} tool calls at once."
            )
        return reply

    async def _run_tools(
        self, calls: list[ToolCall], state: LoopState, context: ToolContext
    ) -> list[ModelMessage]:
        offered = {tool.name for tool in state.tools}
        results = await asyncio.gather(
            *(self._run_tool(call, context, offered=call.name in offered) for call in calls)
        )
        return [
            ModelMessage("tool", result, tool_call_id=call.id)
            for call, result in zip(calls, results, strict=True)
        ]

    async def _run_tool(self, call: ToolCall, context: ToolContext, *, offered: bool) -> str:
        if not offered:
            error = {"code": "unknown_tool", "message": "This agent has no such tool."}
            return orjson.dumps({"ok": False, "error": error}).decode()
        envelope = await self._tools.run(call.name, call.arguments, context)
        return orjson.dumps(envelope.to_json()).decode()


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
