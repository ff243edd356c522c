"""What a chat completion's body may hold, and how it becomes messages for a model."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec.structs import replace

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.models.port import ModelMessage, Role, ToolCall, ToolSpec

MAX_OUTPUT_TOKENS: Final = 131_072
DEFAULT_OUTPUT_TOKENS: Final = 2_048
TOOL_NAME: Final = r"^[a-zA-Z0-9_-]{1,64}$"

Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
TokenLimit = Annotated[int, msgspec.Meta(ge=1, le=MAX_OUTPUT_TOKENS)]
ShortText = Annotated[str, msgspec.Meta(max_length=256)]


class CalledFunction(msgspec.Struct):
    """The function that an assistant's tool call names."""

    name: ShortText
    arguments: str


class ChatToolCall(msgspec.Struct):
    """A tool call in an assistant's message."""

    id: ShortText
    function: CalledFunction


class ChatMessage(msgspec.Struct):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: Annotated[list[ChatToolCall], msgspec.Meta(max_length=128)] | None = None
    tool_call_id: ShortText | None = None


class OfferedFunction(msgspec.Struct):
    """A function that the client offers to the model."""

    name: Annotated[str, msgspec.Meta(pattern=TOOL_NAME)]
    description: str = ""
    parameters: dict[str, Any] = {}


class OfferedTool(msgspec.Struct):
    """A tool that the client offers to the model."""

    type: Literal["function"]
    function: OfferedFunction


class StreamOptions(msgspec.Struct):
    """What a stream should bring besides the answer."""

    include_usage: bool = False


class ChatBody(msgspec.Struct):
    """The body of POST /v1/chat/completions; what is not listed here is ignored."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=320)]
    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1, max_length=2048)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    tools: Annotated[list[OfferedTool], msgspec.Meta(max_length=128)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    stop: str | Annotated[list[str], msgspec.Meta(max_length=4)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    response_format: dict[str, Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None

    @property
    def include_usage(self) -> bool:
        """Tell whether a stream is to end with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def output_limit(self) -> int | None:
        """Return the output tokens that the client allows, if it says so."""
        return self.max_completion_tokens or self.max_tokens


_OPTIONS: Final = (
    "top_p",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "tool_choice",
    "parallel_tool_calls",
)


def options(body: ChatBody) -> Mapping[str, Any]:
    """Return the client's further parameters, under OpenAI's names."""
    values = ((name, getattr(body, name)) for name in _OPTIONS)
    return {name: value for name, value in values if value is not None}


def tool_specs(body: ChatBody) -> tuple[ToolSpec, ...]:
    """Return the tools that the client offers."""
    return tuple(
        ToolSpec(tool.function.name, tool.function.description, tool.function.parameters)
        for tool in body.tools or ()
    )


def conversation(body: ChatBody) -> tuple[ModelMessage, ...]:
    """Return the client's messages; raise a 422 `Problem` for one without content."""
    return tuple(_message(index, message) for index, message in enumerate(body.messages))


def for_agent(messages: tuple[ModelMessage, ...]) -> tuple[ModelMessage, ...]:
    """Return the messages as an agent takes them: only its package instructs it, no client."""
    return tuple(
        replace(message, role="user") if message.role == "system" else message
        for message in messages
    )


def _message(index: int, message: ChatMessage) -> ModelMessage:
    if message.content is None and not message.tool_calls:
        raise Problem(
            422,
            "invalid_body",
            f"`messages[{index}].content` must be text or a list of parts.",
            field=f"messages[{index}].content",
        )
    role: Role = "system" if message.role == "developer" else message.role
    calls = tuple(
        ToolCall(call.id, call.function.name, call.function.arguments)
        for call in message.tool_calls or ()
    )
    if isinstance(message.content, list):
        raw = tuple(message.content)
        return ModelMessage(role, _text(raw), calls, message.tool_call_id, raw)
    return ModelMessage(role, message.content or "", calls, message.tool_call_id)


def _text(parts: tuple[Mapping[str, Any], ...]) -> str:
    texts = (part.get("text") for part in parts if part.get("type") == "text")
    return "\n".join(text for text in texts if isinstance(text, str))
