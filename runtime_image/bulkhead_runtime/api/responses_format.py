"""How answers look on POST /v1/responses: the response object and the events of its stream."""

import time
from typing import Any, Final

import orjson

from bulkhead_runtime.api.answers import Ending
from bulkhead_runtime.api.responses_body import (
    FunctionTool,
    Reasoning,
    ResponseBody,
    TextOptions,
)
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.identifiers import random_hex
from bulkhead_runtime.models.port import ToolCall

DONE: Final = b"data: [DONE]\n\n"

Document = dict[str, Any]
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseFormat:
    """Formats one response; `text` and `call` are told in the order in which they arrive."""

    def __init__(self, body: ResponseBody) -> None:
        self._id = f"resp_{random_hex(16)}"
        self._store = False
        self._body = body
        self._created = int(time.time())
        self._sequence = 0
        self._texts: list[str] = []
        self._output: list[Document] = []
        self._open: Document | None = None

    def stored_as(self, response_id: str) -> None:
        """Take the id by which a later response can continue this one."""
        self._id, self._store = response_id, True

    def begin(self) -> bytes:
        """Return the first events of a stream."""
        response = self._response("in_progress")
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def text(self, text: str) -> bytes:
        """Return events that continue the answer's text."""
        frames = b"" if self._open else self._open_message()
        self._texts.append(text)
        return frames + self._event(
            "response.output_text.delta", **self._place(), delta=text, logprobs=[]
        )

    def call(self, call: ToolCall) -> bytes:
        """Return events of a whole function call."""
        frames = self._close_message()
        index, item = len(self._output), self._call(call)
        place = {"item_id": item["id"], "output_index": index}
        begun = {**item, "arguments": "", "status": "in_progress"}
        arguments = call.arguments
        self._output.append(item)
        return b"".join(
            (
                frames,
                self._event("response.output_item.added", output_index=index, item=begun),
                self._event("response.function_call_arguments.delta", **place, delta=arguments),
                self._event(
                    "response.function_call_arguments.done",
                    **place,
                    name=call.name,
                    arguments=arguments,
                ),
                self._event("response.output_item.done", output_index=index, item=item),
            )
        )

    def end(self, ending: Ending) -> bytes:
        """Return the last events of a stream."""
        frames = b"" if self._open or self._output else self._open_message()
        frames += self._close_message()
        response = self._ended(ending)
        return frames + self._event(f"response.{response['status']}", response=response) + DONE

    def failed(self, problem: Problem) -> bytes:
        """Return the last events of a stream that failed."""
        frames = self._close_message(status="incomplete")
        response = self._response("failed", usage=_spent(problem))
        response["error"] = {"code": problem.code, "message": problem.message}
        return frames + self._event("response.failed", response=response) + DONE

    def whole(self, ending: Ending) -> bytes:
        """Return the response object of an answer that was not streamed."""
        if ending.text or not ending.calls:
            self._output.append(self._message(ending.text))
        for call in ending.calls:
            self._output.append(self._call(call))
        return orjson.dumps(self._ended(ending))

    def again(self) -> "ResponseFormat":
        """Return a format of the same answer that has not said anything yet."""
        other = ResponseFormat(self._body)
        other._id, other._store, other._created = self._id, self._store, self._created
        return other

    def _ended(self, ending: Ending) -> Document:
        usage = _tokens(ending.usage.input_tokens, ending.usage.output_tokens)
        reason = _INCOMPLETE.get(ending.finish_reason)
        if reason is None:
            return self._response("completed", usage=usage)
        response = self._response("incomplete", usage=usage)
        response["incomplete_details"] = {"reason": reason}
        return response

    def _open_message(self) -> bytes:
        self._open = {**self._message(""), "status": "in_progress", "content": []}
        place = self._place()
        added = self._event(
            "response.output_item.added", output_index=len(self._output), item=self._open
        )
        return added + self._event("response.content_part.added", **place, part=_part(""))

    def _close_message(self, status: str = "completed") -> bytes:
        if self._open is None:
            return b""
        place, text = self._place(), "".join(self._texts)
        item = {**self._open, "status": status, "content": [_part(text)]}
        frames = (
            self._event("response.output_text.done", **place, text=text, logprobs=[]),
            self._event("response.content_part.done", **place, part=_part(text)),
            self._event("response.output_item.done", output_index=len(self._output), item=item),
        )
        self._output.append(item)
        self._open = None
        self._texts.clear()
        return b"".join(frames)

    def _message(self, text: str) -> Document:
        return {
            "type": "message",
            "id": self._item_id("msg"),
            "status": "completed",
            "role": "assistant",
            "content": [_part(text)],
        }

    def _call(self, call: ToolCall) -> Document:
        return {
            "type": "function_call",
            "id": self._item_id("fc"),
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }

    def _item_id(self, kind: str) -> str:
        """Return an id that follows from the response's, so that a repeated answer has it too."""
        return f"{kind}_{self._id.removeprefix('resp_')}_{len(self._output)}"

    def _place(self) -> Document:
        assert self._open is not None
        return {
            "item_id": self._open["id"],
            "output_index": len(self._output),
            "content_index": 0,
        }

    def _event(self, kind: str, **content: Any) -> bytes:
        document = {"type": kind, "sequence_number": self._sequence, **content}
        self._sequence += 1
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps(document))

    def _response(self, status: str, usage: Document | None = None) -> Document:
        body = self._body
        ended = status != "in_progress"
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": body.model,
            "previous_response_id": body.previous_response_id,
            "instructions": body.instructions,
            "output": list(self._output) if ended else [],
            "tools": [_tool(tool) for tool in body.tools or ()],
            "tool_choice": "auto" if body.tool_choice is None else body.tool_choice,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "text": _text(body.text),
            "truncation": "disabled",
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "presence_penalty": body.presence_penalty or 0.0,
            "frequency_penalty": body.frequency_penalty or 0.0,
            "top_logprobs": 0,
            "reasoning": _reasoning(body.reasoning),
            "user": body.user,
            "usage": usage,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": None,
            "store": self._store,
            "background": False,
            "service_tier": "default",
            "metadata": body.metadata or {},
            "safety_identifier": body.safety_identifier,
            "prompt_cache_key": body.prompt_cache_key,
        }


def _tokens(input_tokens: int, output_tokens: int) -> Document:
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output_tokens,
    }


def _spent(problem: Problem) -> Document | None:
    spent = problem.spent
    return None if spent is None else _tokens(spent.input_tokens, spent.output_tokens)


def _part(text: str) -> Document:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _text(asked: TextOptions | None) -> Document:
    chosen = (asked and asked.format) or {"type": "text"}
    verbosity = asked and asked.verbosity
    return {"format": chosen, **({"verbosity": verbosity} if verbosity else {})}


def _reasoning(asked: Reasoning | None) -> Document | None:
    return None if asked is None else {"effort": asked.effort, "summary": None}


def _tool(tool: FunctionTool) -> Document:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
