"""How answers look to OpenAI's clients: whole completions and the chunks of streams."""

import secrets
import time
from typing import Any, Final

import orjson

from bulkhead_runtime.models.port import ToolCall

DONE: Final = b"data: [DONE]\n\n"


class ChatFormat:
    """Formats one answer under one id."""

    def __init__(self, model: str) -> None:
        self.id = new_id()
        self._model = model
        self._created = int(time.time())

    def completion(
        self,
        text: str,
        calls: list[ToolCall],
        finish_reason: str,
        usage: dict[str, int],
    ) -> bytes:
        """Return a whole completion."""
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = [_call(call) for call in calls]
        else:
            message["content"] = text
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": finish_reason,
            "logprobs": None,
        }
        return orjson.dumps(self._document("chat.completion", choices=[choice], usage=usage))

    def role(self) -> bytes:
        """Return the first chunk of a stream."""
        return self._chunk({"role": "assistant", "content": ""}, None)

    def text(self, text: str) -> bytes:
        """Return a chunk that continues the answer."""
        return self._chunk({"content": text}, None)

    def call(self, index: int, call: ToolCall) -> bytes:
        """Return a chunk with a whole tool call."""
        return self._chunk({"tool_calls": [{"index": index, **_call(call)}]}, None)

    def end(self, finish_reason: str, usage: dict[str, int] | None) -> bytes:
        """Return the last chunks of a stream, with the usage if it is asked for."""
        frames = self._chunk({}, finish_reason)
        if usage is not None:
            frames += _frame(self._document("chat.completion.chunk", choices=[], usage=usage))
        return frames + DONE

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
    return f"chatcmpl-{secrets.token_hex(12)}"


def usage_payload(input_tokens: int, output_tokens: int) -> dict[str, int]:
    """Return token counts under OpenAI's names."""
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


def error_frame(error: dict[str, Any]) -> bytes:
    """Return the frame that ends a stream which failed midway."""
    return _frame(error)


def _frame(document: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(document)


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
