"""What a chat completion's body may hold, and how it becomes messages for a model.

What is not listed here is refused and never sent on: providers know parameters by which a caller
would choose another model, a dearer service or what is to be stored.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
import orjson

from bulkhead_runtime.api.bodies import decode, refuse_unsupported
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.models.port import ModelMessage, Role, ToolCall, ToolSpec

MAX_OUTPUT_TOKENS: Final = 131_072
DEFAULT_OUTPUT_TOKENS: Final = 2_048
TOOL_NAME: Final = r"^[a-zA-Z0-9_-]{1,64}$"

Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
TokenLimit = Annotated[int, msgspec.Meta(ge=1, le=MAX_OUTPUT_TOKENS)]
ShortText = Annotated[str, msgspec.Meta(max_length=256)]
Bias = Annotated[float, msgspec.Meta(ge=-100, le=100)]
Effort = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{1,16}$")]
ToolChoice = Literal["none", "auto", "required"] | dict[str, Any]
StandardTier = Literal["auto", "default"]
"""What budgets and the ledger have prices for."""


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
    refusal: str | None = None
    tool_calls: Annotated[list[ChatToolCall], msgspec.Meta(max_length=128)] | None = None
    tool_call_id: ShortText | None = None


class OfferedFunction(msgspec.Struct):
    """A function that the client offers to the model and runs itself."""

    name: Annotated[str, msgspec.Meta(pattern=TOOL_NAME)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class OfferedTool(msgspec.Struct):
    """A tool that the client offers to the model."""

    type: Literal["function"]
    function: OfferedFunction


class StreamOptions(msgspec.Struct):
    """What a stream should bring besides the answer."""

    include_usage: bool = False


class ChatBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /v1/chat/completions: OpenAI's parameters, those that are refused too."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=320)]
    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1, max_length=2048)]
    stream: bool | None = None
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
    logit_bias: Annotated[dict[str, Bias], msgspec.Meta(max_length=1024)] | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: Effort | None = None
    verbosity: Effort | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None
    service_tier: StandardTier | None = None

    # Taken and not sent on: nothing of the answer depends on them.
    metadata: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    safety_identifier: Any = None
    user: Any = None

    audio: Any = None
    function_call: Any = None
    functions: Any = None
    logprobs: Any = None
    moderation: Any = None
    prediction: Any = None
    store: Any = None
    top_logprobs: Any = None
    web_search_options: Any = None

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
    "logit_bias",
    "response_format",
    "reasoning_effort",
    "verbosity",
    "tool_choice",
    "parallel_tool_calls",
)
_NOT_BROUGHT: Final = "Answers do not bring it. Leave it out."
_UNSUPPORTED: Final = {
    "audio": _NOT_BROUGHT,
    "function_call": "It became `tool_choice`.",
    "functions": "They became `tools`.",
    "logprobs": _NOT_BROUGHT,
    "moderation": "Your platform team switches moderation on. Leave it out.",
    "prediction": "What is predicted in vain would not be bounded. Leave it out.",
    "store": "Chat completions are not stored. Leave it out, or use /v1/responses.",
    "top_logprobs": _NOT_BROUGHT,
    "web_search_options": "Nothing is searched. Leave it out.",
}
_decoder: Final = msgspec.json.Decoder(ChatBody)


def read(raw: bytes) -> ChatBody:
    """Return the decoded body; raise a 400 or 422 `Problem` for what cannot be done."""
    body = decode(_decoder, raw)
    refuse_unsupported(body, _UNSUPPORTED)
    return body


def options(body: ChatBody) -> Mapping[str, Any]:
    """Return the client's further parameters, under OpenAI's names."""
    values = ((name, getattr(body, name)) for name in _OPTIONS)
    return {name: value for name, value in values if value is not None}


def tool_specs(functions: Iterable[OfferedFunction]) -> tuple[ToolSpec, ...]:
    """Return the functions that the client offers, as a model is told of them."""
    return tuple(
        ToolSpec(
            function.name,
            function.description or "",
            function.parameters or {"type": "object", "properties": {}},
            function.strict,
        )
        for function in functions
    )


def conversation(body: ChatBody) -> tuple[ModelMessage, ...]:
    """Return the client's messages; raise a 422 `Problem` for one without content."""
    return tuple(_message(index, message) for index, message in enumerate(body.messages))


def body_of_bytes(body: ChatBody, raw: bytes) -> dict[str, Any]:
    """Return what is sent on where bytes go through: the messages are as they came."""
    sent: dict[str, Any] = {**options(body), "messages": orjson.loads(raw)["messages"]}
    if body.temperature is not None:
        sent["temperature"] = body.temperature
    return sent


def _message(index: int, message: ChatMessage) -> ModelMessage:
    content = message.refusal if message.content is None else message.content
    if content is None and not message.tool_calls:
        raise _invalid(f"messages[{index}].content", "must be text or a list of parts")
    if message.role == "tool" and message.tool_call_id is None:
        raise _invalid(f"messages[{index}].tool_call_id", "must name the call that is answered")
    role: Role = "system" if message.role == "developer" else message.role
    calls = tuple(
        ToolCall(call.id, call.function.name, call.function.arguments)
        for call in message.tool_calls or ()
    )
    if isinstance(content, list):
        raw = tuple(content)
        return ModelMessage(role, _text(raw), calls, message.tool_call_id, raw)
    return ModelMessage(role, content or "", calls, message.tool_call_id)


def _invalid(field: str, reason: str) -> Problem:
    return Problem(422, "invalid_body", f"`{field}` {reason}.", field=field)


def _text(parts: tuple[Mapping[str, Any], ...]) -> str:
    texts = (part.get("text") for part in parts if part.get("type") == "text")
    return "\n".join(text for text in texts if isinstance(text, str))
