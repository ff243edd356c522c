"""Parts of an answer out of a provider's chunks; whatever arrives, within bounds.

Text goes on at once, a tool call only when all of it is there.
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from bulkhead_runtime.models.accounting import Counts, counts_of
from bulkhead_runtime.models.failures import Failures
from bulkhead_runtime.models.fast_lane.events import DONE, data_of_each
from bulkhead_runtime.models.port import FinishReason, TextDelta, ToolCall

MAX_ANSWER_BYTES: Final = 4_194_304
MAX_TOKEN_BYTES: Final = 256
"""Twice what the longest tokens of known vocabularies take."""

SPARE_BYTES: Final = 4_096
"""For roles and names around the tokens."""

MAX_TOOL_CALLS: Final = 64

_REASONS: Final[dict[str, FinishReason]] = {
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


@dataclass(slots=True)
class _OpenCall:
    id: str = ""
    name: str = ""
    arguments: str = ""


class AnswerReader:
    """Collects one answer; `done` is True once the provider has said that it ended."""

    def __init__(self, failures: Failures, max_output_tokens: int) -> None:
        self._max_output_tokens = max_output_tokens
        self.done = False
        self.model = ""
        self.output_bytes = 0
        self._failures = failures
        self._finish: str | None = None
        self._usage: Counts | None = None
        self._calls: list[_OpenCall] = []
        self._calls_by_index: dict[int, _OpenCall] = {}

    @property
    def complete(self) -> bool:
        """Tell whether the answer has all that an answer needs."""
        return self.done or self._finish is not None

    @property
    def usage(self) -> Counts | None:
        """Return input and output tokens, None where the provider did not count."""
        return self._usage

    def read(self, events: bytes) -> TextDelta | None:
        """Take the events of one read and return the text in them; raise `ModelError`."""
        text = "".join(self._text_of(data) for data in data_of_each(events) if not self.done)
        require_bounded(self.output_bytes, self._max_output_tokens, self._failures)
        return TextDelta(text) if text else None

    def tool_calls(self) -> list[ToolCall]:
        """Return the calls; to be asked when the answer is complete."""
        return [
            ToolCall(call.id or f"call_{number}", call.name, call.arguments)
            for number, call in enumerate(self._calls)
        ]

    def reason(self) -> FinishReason:
        """Return why the answer ended; calls count for more than the provider's word."""
        if self._calls:
            return "tool_calls"
        reason = _REASONS.get(self._finish or "stop", "stop")
        return "stop" if reason == "tool_calls" else reason

    def _text_of(self, data: bytes) -> str:
        if data == DONE:
            self.done = True
            return ""
        chunk = decoded_chunk(data, self._failures)
        try:
            return self._take(chunk)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise self._failures.garbage("a chunk that is no part of a chat completion") from None

    def _take(self, chunk: dict[str, Any]) -> str:
        self._usage = usage_of(chunk) or self._usage
        self.model = str(chunk.get("model") or self.model)[:256]
        choices = chunk["choices"]
        if not choices or self._finish is not None:
            return ""
        choice = choices[0]
        finish = choice.get("finish_reason")
        delta = choice.get("delta") or {}
        for call in delta.get("tool_calls") or ():
            self._continue_call(call)
        self._finish = str(finish) if finish else None
        self.output_bytes += bytes_of_delta(delta)
        return _text(delta.get("content") or "")

    def _continue_call(self, piece: dict[str, Any]) -> None:
        index = int(piece.get("index") or 0)
        call = self._calls_by_index.get(index)
        identifier = piece.get("id")
        # Some servers number every call 0 and tell them apart by id alone.
        if call is None or (identifier and call.id and identifier != call.id):
            if len(self._calls) >= MAX_TOOL_CALLS:
                raise self._failures.garbage(f"more than {MAX_TOOL_CALLS} tool calls")
            call = _OpenCall()
            self._calls.append(call)
            self._calls_by_index[index] = call
        function = piece.get("function") or {}
        call.id = str(identifier or call.id)[:128]
        call.name = (function.get("name") or call.name)[:128]
        arguments = function.get("arguments") or ""
        call.arguments += arguments
        self.output_bytes += len(arguments) + len(call.name)


def _text(content: object) -> str:
    """Return the text of a delta; where it is in parts, as Mistral's, thoughts are not shown."""
    if not isinstance(content, list):
        return str(content)
    return "".join(part["text"] for part in content if part["type"] == "text")


def decoded_chunk(data: bytes, failures: Failures) -> dict[str, Any]:
    """Return a chunk; raise `ModelError` where it is no JSON object or tells of an error."""
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise failures.garbage("a frame that is not JSON") from None
    if not isinstance(chunk, dict):
        raise failures.garbage("a frame that is no JSON object")
    if chunk.get("error"):
        raise failures.of_frame(chunk["error"])
    return chunk


def require_bounded(output_bytes: int, max_output_tokens: int, failures: Failures) -> None:
    """Raise `ModelError` for an answer that is longer than what was asked for can be."""
    limit = min(MAX_ANSWER_BYTES, SPARE_BYTES + max_output_tokens * MAX_TOKEN_BYTES)
    if output_bytes > limit:
        raise failures.garbage(
            f"an answer of more than {limit} bytes where at most {max_output_tokens} tokens were "
            "asked for"
        )


def usage_of(chunk: dict[str, Any]) -> Counts | None:
    """Return the input and output tokens that a chunk tells, if it does and they make sense."""
    usage = chunk.get("usage")
    if not isinstance(usage, dict):
        return None
    return counts_of(usage.get("prompt_tokens"), usage.get("completion_tokens"))


def bytes_of_delta(delta: dict[str, Any]) -> int:
    """Return the bytes of a delta's texts: the answer's, and thoughts that are not shown."""
    size = 0
    for text in delta.values():
        if isinstance(text, str):
            size += len(text) if text.isascii() else len(text.encode())
    content = delta.get("content")
    return size + len(orjson.dumps(content)) if isinstance(content, list) else size
