"""What a model was told and said, for those who asked to have content in their spans.

The shapes are those of OpenTelemetry's conventions for generative AI. A conversation that is longer
than an attribute may be loses its oldest messages, so that what is left can be read.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from bulkhead_runtime.models.port import (
    ByteRequest,
    Finished,
    ModelMessage,
    ModelRequest,
    Part,
    TextDelta,
    ToolCall,
)
from bulkhead_runtime.telemetry.redaction import SECRET_VALUES
from bulkhead_runtime.telemetry.spans import MAX_CONTENT_CHARACTERS, Span

_MAX_TEXT_CHARACTERS: Final = 8_192
"""Of one message, so that some others are seen beside it."""

_FRAME: Final = b"data: {"
_FINISHES: Final = {"tool_calls": "tool_call"}
"""Where the conventions have another word than the models' API."""

Document = dict[str, Any]


class Captured:
    """Follows one call of a model and leaves its content in the call's span."""

    def __init__(self, span: Span, request: ModelRequest | ByteRequest) -> None:
        self._span = span
        self._texts: list[str] = []
        self._calls: list[ToolCall] = []
        self._finish = "error"
        self._told(request)

    def _told(self, request: ModelRequest | ByteRequest) -> None:
        """Leave the newest messages in the span, as many as an attribute holds."""
        kept: list[str] = []
        left = MAX_CONTENT_CHARACTERS
        for message in _newest_first(request):
            text = orjson.dumps(message).decode()
            left -= len(text) + 2
            if left < 0:
                break
            kept.append(text)
        self._span.content("gen_ai.input.messages", f"[{','.join(reversed(kept))}]")

    def said(self, part: Part | bytes) -> None:
        """Keep a part of the answer, or frames of it as they go to a client."""
        match part:
            case bytes():
                self._frames(part)
            case TextDelta():
                self._texts.append(part.text)
            case ToolCall():
                self._calls.append(part)
            case Finished():
                self._finish = _FINISHES.get(part.reason, part.reason)

    def _frames(self, frames: bytes) -> None:
        for line in frames.splitlines():
            if line.startswith(_FRAME):
                self._chunk(orjson.loads(line.removeprefix(b"data: ")))

    def _chunk(self, chunk: Document) -> None:
        for choice in chunk.get("choices", ()):
            text = (choice.get("delta") or {}).get("content")
            if isinstance(text, str):
                self._texts.append(text)
            reason = choice.get("finish_reason")
            if isinstance(reason, str):
                self._finish = _FINISHES.get(reason, reason)

    def ended(self) -> None:
        """Leave the answer in the span, or what there is of it."""
        parts = [*_text("".join(self._texts)), *map(_call, self._calls)]
        answer = {"role": "assistant", "parts": parts, "finish_reason": self._finish}
        self._span.content("gen_ai.output.messages", orjson.dumps([answer]).decode())


def _newest_first(request: ModelRequest | ByteRequest) -> Iterator[Document]:
    if isinstance(request, ModelRequest):
        return map(_message, reversed(request.messages))
    return map(_given, reversed(request.body["messages"]))


def _message(message: ModelMessage) -> Document:
    """Return a message as the conventions have it."""
    if message.role == "tool":
        response = _bounded(message.content)
        parts: list[Document] = [
            {"type": "tool_call_response", "id": message.tool_call_id, "response": response}
        ]
    else:
        parts = [*_text(message.content), *map(_call, message.tool_calls)]
    return {"role": message.role, "parts": parts}


def _given(message: Mapping[str, Any]) -> Document:
    """Return a message of a client's body, whose content is text or a list of parts."""
    content = message.get("content")
    texts = [content] if isinstance(content, str) else [part.get("text") for part in content or ()]
    parts = [part for text in texts if isinstance(text, str) for part in _text(text)]
    return {"role": message["role"], "parts": parts}


def _text(text: str) -> Iterator[Document]:
    if text:
        yield {"type": "text", "content": _bounded(text)}


def _call(call: ToolCall) -> Document:
    arguments = _bounded(call.arguments)
    return {"type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments}


def _bounded(text: str) -> str:
    """Cut a text, after secrets have left it: half of one would not be known for one."""
    return SECRET_VALUES.redact(text)[:_MAX_TEXT_CHARACTERS]
