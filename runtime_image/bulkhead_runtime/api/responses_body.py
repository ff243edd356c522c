"""What the body of POST /v1/responses may hold, and how it becomes messages for a model.

After the Open Responses specification; what is not listed here is ignored, what would change the
answer and cannot be done is refused.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from bulkhead_runtime.api.chat_body import MAX_OUTPUT_TOKENS, TOOL_NAME, Penalty, ShortText
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.models.port import ModelMessage, Role, ToolCall, ToolSpec

MAX_ITEMS: Final = 2048
MAX_PARTS: Final = 256

Text = Annotated[str, msgspec.Meta(max_length=10_485_760)]
Part = dict[str, Any]
Output = str | Annotated[list[Part], msgspec.Meta(max_length=MAX_PARTS)]


class Item(msgspec.Struct):
    """One item of the input; which fields it needs follows from its type."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: Output | None = None
    call_id: ShortText | None = None
    name: ShortText | None = None
    arguments: str | None = None
    output: Output | None = None


class FunctionTool(msgspec.Struct):
    """A function that the client offers to the model and runs itself."""

    type: Literal["function"]
    name: Annotated[str, msgspec.Meta(pattern=TOOL_NAME)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class TextOptions(msgspec.Struct):
    """What the text of the answer should look like."""

    format: dict[str, Any] | None = None


class ResponseBody(msgspec.Struct):
    """The body of POST /v1/responses."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=320)]
    input: Text | Annotated[list[Item], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]
    instructions: Text | None = None
    previous_response_id: ShortText | None = None
    store: bool | None = None
    stream: bool | None = None
    background: bool | None = None
    tools: Annotated[list[FunctionTool], msgspec.Meta(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    metadata: (
        Annotated[
            dict[
                Annotated[str, msgspec.Meta(min_length=1, max_length=64)],
                Annotated[str, msgspec.Meta(max_length=512)],
            ],
            msgspec.Meta(max_length=16),
        ]
        | None
    ) = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1, le=MAX_OUTPUT_TOKENS)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None


def refuse_what_cannot_be_done(body: ResponseBody) -> None:
    """Raise a 422 `Problem` for options that would silently not hold."""
    if body.background:
        raise _unsupported("background", "Responses are made while the request waits")
    if body.previous_response_id is not None and body.store is False:
        raise _unsupported("store", "A response that continues another one is stored with it")


def conversation(body: ResponseBody) -> tuple[ModelMessage, ...]:
    """Return the input as messages; raise a 422 `Problem` for an item that lacks something."""
    instructions = [ModelMessage("system", body.instructions)] if body.instructions else []
    if isinstance(body.input, str):
        return (*instructions, ModelMessage("user", body.input))
    messages = tuple(_messages(body.input))
    if not messages:
        raise Problem(422, "invalid_body", "`input` must have a message.", field="input")
    return (*instructions, *messages)


def tool_specs(body: ResponseBody) -> tuple[ToolSpec, ...]:
    """Return the tools that the client offers."""
    return tuple(
        ToolSpec(tool.name, tool.description or "", tool.parameters or {"type": "object"})
        for tool in body.tools or ()
    )


def options(body: ResponseBody) -> Mapping[str, Any]:
    """Return the client's further parameters, under the names of chat completions."""
    chosen = {
        "top_p": body.top_p,
        "presence_penalty": body.presence_penalty,
        "frequency_penalty": body.frequency_penalty,
        "parallel_tool_calls": body.parallel_tool_calls,
        "tool_choice": _tool_choice(body.tool_choice),
        "response_format": _response_format(body.text),
    }
    return {name: value for name, value in chosen.items() if value is not None}


def _tool_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    if isinstance(choice, dict) and choice.get("type") == "function" and "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice


def _response_format(text: TextOptions | None) -> dict[str, Any] | None:
    chosen = text.format if text is not None else None
    if chosen is None or chosen.get("type") == "text":
        return None
    if chosen.get("type") == "json_schema":
        schema = {name: value for name, value in chosen.items() if name != "type"}
        return {"type": "json_schema", "json_schema": schema}
    return chosen


def _messages(items: list[Item]) -> Iterator[ModelMessage]:
    """Yield messages; calls that follow each other belong to one message of the assistant."""
    calls: list[ToolCall] = []
    for index, item in enumerate(items):
        if item.type == "function_call":
            calls.append(_call(index, item))
            continue
        if calls:
            yield ModelMessage("assistant", "", tuple(calls))
            calls = []
        if item.type == "message":
            yield _message(index, item)
        elif item.type == "function_call_output":
            yield _output(index, item)
    if calls:
        yield ModelMessage("assistant", "", tuple(calls))


def _message(index: int, item: Item) -> ModelMessage:
    if item.role is None or item.content is None:
        raise _incomplete(index, "role` and `content")
    role: Role = "system" if item.role == "developer" else item.role
    if isinstance(item.content, str):
        return ModelMessage(role, item.content)
    parts = [_part(index, part) for part in item.content]
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    has_more = any(part["type"] != "text" for part in parts)
    return ModelMessage(role, text, raw_content=tuple(parts) if has_more else None)


def _call(index: int, item: Item) -> ToolCall:
    if item.call_id is None or item.name is None or item.arguments is None:
        raise _incomplete(index, "call_id`, `name` and `arguments")
    return ToolCall(item.call_id, item.name, item.arguments)


def _output(index: int, item: Item) -> ModelMessage:
    if item.call_id is None or item.output is None:
        raise _incomplete(index, "call_id` and `output")
    if isinstance(item.output, str):
        return ModelMessage("tool", item.output, tool_call_id=item.call_id)
    texts = [_part(index, part).get("text", "") for part in item.output]
    return ModelMessage("tool", "\n".join(texts), tool_call_id=item.call_id)


def _part(index: int, part: Part) -> dict[str, Any]:
    """Return a part of a message under the names of chat completions."""
    match part:
        case {"type": "input_text" | "output_text" | "text", "text": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "refusal", "refusal": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "input_image", "image_url": str(url)}:
            image = {"url": url, "detail": str(part.get("detail") or "auto")[:16]}
            return {"type": "image_url", "image_url": image}
    raise Problem(
        422,
        "invalid_body",
        f"`input[{index}].content` has a part that is neither input_text, output_text, refusal "
        "nor input_image with an `image_url`.",
        field=f"input[{index}].content",
    )


def _incomplete(index: int, fields: str) -> Problem:
    return Problem(
        422,
        "invalid_body",
        f"`input[{index}]` must have `{fields}` for its type.",
        field=f"input[{index}]",
    )


def _unsupported(field: str, reason: str) -> Problem:
    return Problem(422, "not_supported", f"`{field}`: {reason}. Leave it out.", field=field)
