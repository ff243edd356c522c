"""Tokens counted offline: a bound that is never too low, and an estimate that learns.

No tokenizer makes more than one token of a byte, so bytes bound every model's input; loading a
tokenizer's data would cost a quarter of the runtime's memory and fit one family of models only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from bulkhead_runtime.models.port import ByteRequest, ModelMessage, ModelRequest, ToolSpec

FRAME_TOKENS: Final = 8
"""The most that a role and the marks around one message take."""

IMAGE_TOKENS: Final = 50_000
"""The dearest image there is: gpt-4o-mini counts 48,169 for one in high detail."""

FILE_TOKENS: Final = 1_000_000
"""A part whose size nobody knows, as a file by its id: the largest context window there is."""

_PART_TOKENS: Final = {"text": 0, "input_audio": 0, "refusal": 0, "image_url": IMAGE_TOKENS}

FIRST_TOKENS_PER_BYTE: Final = 0.3
"""Before a model has been heard: above English (0.24), about what other languages take."""

MAX_MODELS: Final = 256
_LOWEST, _HIGHEST = 0.05, 1.0
_WEIGHT: Final = 0.3
_MESSAGE_TOKENS: Final = 4


def input_bound(request: ModelRequest | ByteRequest) -> int:
    """Return the most input tokens that a request can be."""
    if isinstance(request, ByteRequest):
        messages = request.body.get("messages", ())
        parts = (part for message in messages for part in _parts(message.get("content")))
        return len(orjson.dumps(request.body)) + sum(_part_tokens(part) for part in parts)
    return (
        bytes_of_text(request.messages)
        + sum(_raw_tokens(message) for message in request.messages if message.raw_content)
        + bytes_of_tools(request.tools)
        + (len(orjson.dumps(request.options)) if request.options else 0)
    )


def bytes_of_text(messages: Iterable[ModelMessage]) -> int:
    """Return the bytes of the messages' texts and calls, and a bound of the marks around them."""
    return sum(FRAME_TOKENS + _bytes_of(message) for message in messages)


def bytes_of_tools(tools: Iterable[ToolSpec]) -> int:
    """Return the bytes of what a model is told of its tools."""
    return sum(
        FRAME_TOKENS + _size(tool.name) + _size(tool.description) + len(_json(tool.parameters))
        for tool in tools
    )


class TokenMeasure:
    """Tokens per byte of each model, learnt from what its provider counted last."""

    def __init__(self) -> None:
        self._ratios: dict[str, float] = {}

    def observe(self, request: ModelRequest, input_tokens: int) -> None:
        """Learn from a call whose input the provider counted."""
        size = sum(_bytes_of(message) for message in request.messages)
        size += bytes_of_tools(request.tools)
        counted = input_tokens - _MESSAGE_TOKENS * len(request.messages)
        if size == 0 or counted <= 0:
            return
        seen = min(max(counted / size, _LOWEST), _HIGHEST)
        # Taken out and put back: the model heard last is the last to be forgotten.
        known = self._ratios.pop(request.model, seen)
        self._ratios[request.model] = known + _WEIGHT * (seen - known)
        if len(self._ratios) > MAX_MODELS:
            del self._ratios[next(iter(self._ratios))]

    def count(self, model: str, messages: Sequence[ModelMessage]) -> tuple[int, ...]:
        """Return about how many tokens each message is."""
        ratio = self._ratios.get(model, FIRST_TOKENS_PER_BYTE)
        return tuple(_MESSAGE_TOKENS + round(ratio * _bytes_of(message)) for message in messages)

    def count_tools(self, model: str, tools: Iterable[ToolSpec]) -> int:
        """Return about how many tokens it takes to tell a model of these tools."""
        return round(self._ratios.get(model, FIRST_TOKENS_PER_BYTE) * bytes_of_tools(tools))


def _bytes_of(message: ModelMessage) -> int:
    if not message.tool_calls:  # most of them; a conversation is counted several times a turn
        return _size(message.content)
    calls = sum(_size(call.name) + _size(call.arguments) for call in message.tool_calls)
    return _size(message.content) + calls


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _json(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value, default=dict)


def _raw_tokens(message: ModelMessage) -> int:
    parts = message.raw_content or ()
    return sum(len(orjson.dumps(part)) + _part_tokens(part) for part in parts)


def _parts(content: object) -> Sequence[Mapping[str, Any]]:
    return content if isinstance(content, list) else ()


def _part_tokens(part: Mapping[str, Any]) -> int:
    return _PART_TOKENS.get(str(part.get("type")), FILE_TOKENS)
