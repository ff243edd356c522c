"""What a model is told of a conversation, within its context window and the request's budget."""

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from bulkhead_api.v1alpha1.sessions import Cleanup
from bulkhead_runtime.kernel.allowance import Allowance
from bulkhead_runtime.kernel.cleanup import Cleaned, clean
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

    def fit(
        self,
        conversation: Conversation,
        model: str,
        *,
        max_output_tokens: int,
        cleanup: Cleanup,
        allowance: Allowance,
    ) -> Cleaned:
        """Return what is told; the oldest messages are left out once there is too much."""
        messages = conversation.messages()
        window = max(1, self._router.context_window(model) - max_output_tokens)
        sizes = self._router.count(model, messages)
        cleaned = clean(
            messages,
            sizes,
            start=window * cleanup.start_percent // 100,
            target=window * cleanup.target_percent // 100,
            keep=cleanup.keep_messages,
            pinned=conversation.pinned,
        )
        return self._affordable(cleaned, conversation, max_output_tokens, cleanup, allowance)

    def use(self, model: str, tokens: int) -> ContextUse:
        """Return how full a model's window is with so many tokens."""
        percent = tokens * 100 // self._router.context_window(model)
        if percent >= CRITICAL_PERCENT:
            return "critical"
        return "warning" if percent >= WARNING_PERCENT else "normal"

    def _affordable(
        self,
        cleaned: Cleaned,
        conversation: Conversation,
        max_output_tokens: int,
        cleanup: Cleanup,
        allowance: Allowance,
    ) -> Cleaned:
        """Leave more out where the worst case of the input is more than the request may use."""
        left = allowance.left("tokens")
        if left is None:
            return cleaned
        room = int(left) - max_output_tokens
        worst = worst_cases(cleaned.messages)
        if sum(worst) <= room:
            return cleaned
        again = clean(
            cleaned.messages,
            worst,
            start=room,
            target=room * cleanup.target_percent // 100,
            keep=cleanup.keep_messages,
            pinned=conversation.pinned,
        )
        return Cleaned(again.messages, cleaned.removed + again.removed, cleaned.tokens)


def worst_cases(messages: Sequence[ModelMessage]) -> tuple[int, ...]:
    """Return the most tokens that each message can be: one per byte."""
    return tuple(
        len(message.content.encode())
        + sum(len(call.name) + len(call.arguments.encode()) for call in message.tool_calls)
        for message in messages
    )
