"""How answers look to OpenAI's clients: whole completions and the chunks of streams."""

import time
from typing import Any, Final

import orjson

from bulkhead_runtime.api.answers import Ending
from bulkhead_runtime.api.problems import openai_error
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.identifiers import random_hex
from bulkhead_runtime.models.port import ToolCall

DONE: Final = b"data: [DONE]\n\n"


class ChatFormat:
    """Formats one answer under one id."""

    def __init__(self, model: str, *, include_usage: bool = False) -> None:
        self.id = new_id()
        self._model = model
        self._include_usage = include_usage
        self._created = int(time.time())
        self._calls = 0

    def whole(self, ending: Ending) -> bytes:
        """Return a whole completion."""
        message: dict[str, Any] = {"role": "assistant", "content": ending.text, "refusal": None}
        if ending.calls:
            message["content"] = ending.text or None
            message["tool_calls"] = [_call(call) for call in ending.calls]
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": ending.finish_reason,
            "logprobs": None,
        }
        usage = _usage(ending)
        return orjson.dumps(self._document("chat.completion", choices=[choice], usage=usage))

    def begin(self) -> bytes:
        """Return the first chunk of a stream."""
        return self._chunk({"role": "assistant", "content": ""}, None)

    def text(self, text: str) -> bytes:
        """Return a chunk that continues the answer."""
        return self._chunk({"content": text}, None)

    def call(self, call: ToolCall) -> bytes:
        """Return a chunk with a whole tool call."""
        index, self._calls = self._calls, self._calls + 1
        return self._chunk({"tool_calls": [{"index": index, **_call(call)}]}, None)

    def end(self, ending: Ending) -> bytes:
        """Return the last chunks of a stream, with the usage if it is asked for."""
        frames = self._chunk({}, ending.finish_reason)
        if self._include_usage:
            document = self._document("chat.completion.chunk", choices=[], usage=_usage(ending))
            frames += _frame(document)
        return frames + DONE

    def failed(self, problem: Problem) -> bytes:
        """Return the frame that ends a stream which failed midway."""
        return _frame(openai_error(problem))

    def again(self) -> "ChatFormat":
        """Return a format of the same answer that has not said anything yet."""
        other = ChatFormat(self._model, include_usage=self._include_usage)
        other.id, other._created = self.id, self._created
        return other

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return _frame(self._document("chat.completion.chunk", choices=[choice]))

    def _document(self, kind: str, **content: Any) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            **content,
        }


def new_id() -> str:
    """Return an id for an answer."""
    return f"chatcmpl-{random_hex(12)}"


def _usage(ending: Ending) -> dict[str, int]:
    usage = ending.usage
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _frame(document: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(document)


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
