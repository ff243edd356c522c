"""The embedded model as a client: streams word by word, counts tokens, calls tools.

It is no language model and says so. What it answers is made from the conversation that it was
given, so that a newcomer sees instructions, history and tools at work, and a test can rely on it.
"""

import re
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Final

from bulkhead_api.names import OFFLINE_MODEL
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.offline.answer import answer_text
from bulkhead_runtime.models.offline.tool_choice import choose_tool_call
from bulkhead_runtime.models.port import (
    Finished,
    Meter,
    ModelRequest,
    Part,
    TextDelta,
    ToolCall,
    Usage,
)

_TOKEN: Final = re.compile(r"\w+|[^\w\s]")
_WORD: Final = re.compile(r"\s*\S+\s*?")
_TOKENS_PER_MESSAGE: Final = 4
"""What a role and the marks around a message take."""


class OfflineModel:
    """Answers `offline/echo`; `organization` is the name that it greets with."""

    def __init__(self, organization: str) -> None:
        self._organization = organization

    async def stream(self, request: ModelRequest, meter: Meter) -> AsyncGenerator[Part, None]:
        """Yield the answer word by word, or one tool call; raise `ModelError` for other names."""
        if request.model != OFFLINE_MODEL:
            raise ModelError(
                "unknown_model",
                f"There is no model {request.model!r}: the embedded model is {OFFLINE_MODEL!r}.",
            )
        call = choose_tool_call(request)
        parts = (
            _calling(request, call)
            if call is not None
            else _answering(request, answer_text(self._organization, request))
        )
        meter.sent = meter.begun = True
        meter.usage = next(part for part in parts if isinstance(part, Usage))
        for part in parts:
            yield part


def count_tokens(text: str) -> int:
    """Return how many tokens the embedded model counts: words and punctuation marks."""
    return sum(1 for _ in _TOKEN.finditer(text))


def _calling(request: ModelRequest, call: ToolCall) -> tuple[Part, ...]:
    usage = Usage(_input_tokens(request), count_tokens(call.name + call.arguments), Decimal(0))
    return (call, usage, Finished("tool_calls", OFFLINE_MODEL))


def _answering(request: ModelRequest, text: str) -> tuple[Part, ...]:
    words: list[Part] = []
    spent = 0
    for word in _WORD.findall(text):
        size = count_tokens(word)
        if spent + size > request.max_output_tokens:
            usage = Usage(_input_tokens(request), spent, Decimal(0))
            return (*words, usage, Finished("length", OFFLINE_MODEL))
        spent += size
        words.append(TextDelta(word))
    usage = Usage(_input_tokens(request), spent, Decimal(0))
    return (*words, usage, Finished("stop", OFFLINE_MODEL))


def _input_tokens(request: ModelRequest) -> int:
    return sum(_TOKENS_PER_MESSAGE + count_tokens(message.content) for message in request.messages)
