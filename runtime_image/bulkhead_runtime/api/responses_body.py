"""What the body of POST /v1/responses may hold, and how it becomes messages for a model.

After the Open Responses specification; what would change the answer and cannot be done is refused,
and so is what is not listed here.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from bulkhead_runtime.api.bodies import decode, refuse_unsupported
from bulkhead_runtime.api.chat_body import (
    MAX_OUTPUT_TOKENS,
    Effort,
    OfferedFunction,
    Penalty,
    ShortText,
    StandardTier,
    ToolChoice,
)
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.models.port import ModelMessage, Role, ToolCall

MAX_ITEMS: Final = 2048
MAX_PARTS: Final = 256

Text = Annotated[str, msgspec.Meta(max_length=10_485_760)]
Part = dict[str, Any]
Included = Literal[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]
"""What of OpenAI's own tools and thoughts may be asked for; none of it is ever there."""

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


class FunctionTool(OfferedFunction, kw_only=True):
    """A function that the client offers, where it is said what kind of tool it is."""

    type: Literal["function"]


class TextOptions(msgspec.Struct, forbid_unknown_fields=True):
    """What the text of the answer should look like."""

    format: dict[str, Any] | None = None
    verbosity: Effort | None = None


class Reasoning(msgspec.Struct, forbid_unknown_fields=True):
    """How much is thought before the answer; of thoughts no summary is brought."""

    effort: Effort | None = None
    summary: Literal["auto"] | None = None


class ResponseBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /v1/responses: OpenAI's parameters, those that are refused too."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=320)]
    input: Text | Annotated[list[Item], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]
    instructions: Text | None = None
    previous_response_id: ShortText | None = None
    store: bool | None = None
    stream: bool | None = None
    background: bool | None = None
    tools: Annotated[list[FunctionTool], msgspec.Meta(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
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
    service_tier: StandardTier | None = None
    truncation: Literal["disabled"] | None = None

    # Taken and not sent on: nothing of the answer depends on them.
    include: Annotated[list[Included], msgspec.Meta(max_length=16)] | None = None
    prompt_cache_key: ShortText | None = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    safety_identifier: ShortText | None = None
    stream_options: Any = None
    user: ShortText | None = None

    context_management: Any = None
    conversation: Any = None
    max_tool_calls: Any = None
    moderation: Any = None
    prompt: Any = None
    top_logprobs: Any = None


_UNSUPPORTED: Final = {
    "background": "Responses are made while the request waits. Leave it out.",
    "context_management": "Sessions of agents are compacted as their organization says.",
    "conversation": "Use `previous_response_id` to go on with a session of an agent.",
    "max_tool_calls": "How often an agent may call tools is said by its package.",
    "moderation": "Your platform team switches moderation on. Leave it out.",
    "prompt": "Prompts are not stored. Send `instructions` and `input`.",
    "top_logprobs": "Answers do not bring them. Leave it out.",
}
_decoder: Final = msgspec.json.Decoder(ResponseBody)


def read(raw: bytes) -> ResponseBody:
    """Return the decoded body; raise a 400 or 422 `Problem` for what cannot be done."""
    body = decode(_decoder, raw)
    refuse_unsupported(body, _UNSUPPORTED)
    if body.previous_response_id is not None and body.store is False:
        raise Problem(
            422,
            "not_supported",
            "`store`: A response that continues another one is stored with it. Leave it out.",
            field="store",
        )
    return body


def conversation(body: ResponseBody) -> tuple[ModelMessage, ...]:
    """Return the input as messages; raise a 422 `Problem` for an item that lacks something."""
    instructions = [ModelMessage("system", body.instructions)] if body.instructions else []
    if isinstance(body.input, str):
        return (*instructions, ModelMessage("user", body.input))
    messages = tuple(_messages(body.input))
    if not messages:
        raise Problem(422, "invalid_body", "`input` must have a message.", field="input")
    return (*instructions, *messages)


def options(body: ResponseBody) -> Mapping[str, Any]:
    """Return the client's further parameters, under the names of chat completions."""
    chosen = {
        "top_p": body.top_p,
        "presence_penalty": body.presence_penalty,
        "frequency_penalty": body.frequency_penalty,
        "reasoning_effort": body.reasoning and body.reasoning.effort,
        "verbosity": body.text and body.text.verbosity,
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
    parts = [_part(index, part) for part in item.output]
    if any(part["type"] != "text" for part in parts):
        field = f"input[{index}].output"
        raise Problem(422, "not_supported", f"`{field}` can only be text.", field=field)
    text = "\n".join(part["text"] for part in parts)
    return ModelMessage("tool", text, tool_call_id=item.call_id)


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
        f"`input[{index}]` has a part that is neither input_text, output_text, refusal "
        "nor input_image with an `image_url`.",
        field=f"input[{index}]",
    )


def _incomplete(index: int, fields: str) -> Problem:
    return Problem(
        422,
        "invalid_body",
        f"`input[{index}]` must have `{fields}` for its type.",
        field=f"input[{index}]",
    )
