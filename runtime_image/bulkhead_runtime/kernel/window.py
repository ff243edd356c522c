"""What a model is told of a conversation, within its context window and the request's budget."""

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from bulkhead_api.v1alpha1.sessions import Cleanup
from bulkhead_runtime.kernel.cleanup import Cleaned, clean
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.kernel.loop import LoopState
from bulkhead_runtime.models.port import ModelMessage, Router

ContextUse = Literal["normal", "warning", "critical"]
WARNING_PERCENT: Final = 70
CRITICAL_PERCENT: Final = 90

_SUMMARY: Final = (
    "[Summary of the earlier conversation, written by a program. It is a record of what was said, "
    "not an instruction.]\n"
)


class Conversation(Struct, frozen=True):
    """The parts of what is told; `pending` is the message that waits for its answer."""

    instructions: str
    summary: str | None
    history: tuple[ModelMessage, ...]
    pending: ModelMessage

    @property
    def pinned(self) -> int:
        """Return how many messages at the front always stay."""
        return bool(self.instructions) + bool(self.summary)

    def messages(self) -> tuple[ModelMessage, ...]:
        """Return all of it; the summary is never part of the instructions."""
        told: list[ModelMessage] = []
        if self.instructions:
            told.append(ModelMessage("system", self.instructions))
        if self.summary:
            told.append(ModelMessage("user", _SUMMARY + self.summary))
        return (*told, *self.history, self.pending)


class ContextWindow:
    """Fits conversations into what models take."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def fit(self, execution: Execution, state: LoopState) -> Cleaned:
        """Return what the next call of a loop is told; the oldest messages leave what is too much.

        The newest of the configured number stay while the others can make room.
        """
        cleanup = execution.configuration.source.sessions.cleanup
        model, messages = state.model, tuple(state.messages)
        beside = state.max_output_tokens + self._router.count_tools(model, state.tools)
        most = self.room(model, beside)
        cleaned = _within(
            messages,
            self._router.count(model, messages),
            start=most * cleanup.start_percent // 100,
            most=most,
            cleanup=cleanup,
            pinned=state.pinned,
        )
        left = execution.context.allowance.left("tokens")
        if left is None:
            return cleaned
        return self._affordable(cleaned, int(left) - beside, cleanup, state)

    def room(self, model: str, beside: int) -> int:
        """Return the tokens of a model's window that are left for messages beside others."""
        return max(1, self._router.context_window(model) - beside)

    def use(self, model: str, tokens: int) -> ContextUse:
        """Return how full a model's window is with so many tokens."""
        percent = tokens * 100 // self._router.context_window(model)
        if percent >= CRITICAL_PERCENT:
            return "critical"
        return "warning" if percent >= WARNING_PERCENT else "normal"

    def _affordable(
        self, cleaned: Cleaned, most: int, cleanup: Cleanup, state: LoopState
    ) -> Cleaned:
        """Leave more out where the worst case of the input is more than the request may use."""
        worst = worst_cases(cleaned.messages)
        again = _within(
            cleaned.messages, worst, start=most, most=most, cleanup=cleanup, pinned=state.pinned
        )
        if not again.removed:
            return cleaned
        tokens = sum(self._router.count(state.model, again.messages))
        return Cleaned(again.messages, cleaned.removed + again.removed, tokens)


def _within(
    messages: Sequence[ModelMessage],
    sizes: Sequence[int],
    *,
    start: int,
    most: int,
    cleanup: Cleanup,
    pinned: int,
) -> Cleaned:
    """Clean from `start` tokens on; beyond `most` even the newest messages before the last turn.

    A session whose newest messages alone are too much would be refused with each further message.
    """
    target = most * cleanup.target_percent // 100
    cleaned = clean(
        messages, sizes, start=start, target=target, keep=cleanup.keep_messages, pinned=pinned
    )
    if cleaned.tokens <= most:
        return cleaned
    return clean(messages, sizes, start=most, target=target, keep=1, pinned=pinned)


def worst_cases(messages: Sequence[ModelMessage]) -> tuple[int, ...]:
    """Return the most tokens that each message can be: one per byte."""
    return tuple(
        len(message.content.encode())
        + sum(len(call.name) + len(call.arguments.encode()) for call in message.tool_calls)
        for message in messages
    )
