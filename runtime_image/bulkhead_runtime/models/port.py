"""The port between the kernel and whatever answers as a model.

The kernel knows these types and nothing of providers, HTTP or litellm. A provider yields parts as
they arrive and raises `ModelError` (models.errors) for everything that goes wrong; closing the
iterator early cancels the call upstream.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Protocol

from bulkhead_api.runtime_config import ModelsConfig

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for; a stream yields it only when it is complete.

    `arguments` is the JSON text as the model wrote it, which may be garbage.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ModelMessage:
    """One message of a conversation; `tool_call_id` names the call that a tool message answers.

    `raw_content` holds a client's multi-part content (OpenAI's list of parts), sent on as it is
    by providers that can, where a chat completion brought one; `content` is its text.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    raw_content: tuple[Mapping[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call of a model.

    `model` is PROVIDER/MODEL, `deadline` a time of `time.monotonic()` at which the call is given
    up. `options` are further OpenAI parameters of a client (top_p, stop, response_format ...),
    already bounded, passed to providers that know them.
    """

    model: str
    messages: tuple[ModelMessage, ...]
    max_output_tokens: int
    deadline: float
    tools: tuple[ToolSpec, ...] = ()
    temperature: float | None = None
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text that continues the answer; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call took; `cost` is in US dollars, None where no price is known.

    `estimated` is True where the provider did not count.
    """

    input_tokens: int
    output_tokens: int
    cost: Decimal | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """The last part of every stream that ended well; `model` is what the provider says it was."""

    reason: FinishReason
    model: str


Part = TextDelta | ToolCall | Usage | Finished
"""A stream is TextDelta* and ToolCall*, then Usage once, then Finished once."""


class ModelClient(Protocol):
    """Calls the models of one provider."""

    def stream(self, request: ModelRequest) -> AsyncIterator[Part]:
        """Yield the parts of the answer as they arrive; raise `ModelError` when it fails."""
        ...

    async def aclose(self) -> None:
        """Release connections and processes; streams under way end with an error."""
        ...


@dataclass(frozen=True, slots=True)
class PassthroughResult:
    """What a pass-through stream took; `complete` is False where upstream ended it early."""

    usage: Usage
    complete: bool


Write = Callable[[bytes], Awaitable[None]]
"""Sends bytes of an SSE stream to the client; raises when the client has gone."""


class Passthrough(Protocol):
    """Streams chat completions of one provider with the least work per read.

    `body` is the client's decoded request; the provider sets `model`, `stream` and
    `stream_options` itself. Every upstream read becomes at most one `write` of complete SSE
    frames in which only `id` and `model` differ from the provider's; `data: [DONE]` included.
    A usage chunk is asked of the provider always and written only where `include_usage` is True.
    Raises `ModelError`; before the first `write` the caller can still answer with a status,
    afterwards it writes an error frame itself. Cancelling the task cancels upstream at once.
    """

    async def __call__(
        self,
        body: Mapping[str, Any],
        *,
        model: str,
        answer_id: str,
        include_usage: bool,
        deadline: float,
        write: Write,
    ) -> PassthroughResult:
        """Stream one answer; return when upstream has ended it."""
        ...


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model or provider that requests can name.

    `id` is PROVIDER/MODEL where the models of a provider are known, else PROVIDER/*.
    """

    id: str
    provider: str


class Router(Protocol):
    """Finds the client for a model's name; made once, follows configuration and keys.

    The implementation is `models.router.ModelRouter(providers_directory: Path)`; constructing it
    opens nothing and imports no HTTP client.
    """

    def configure(self, models: ModelsConfig) -> None:
        """Follow a new configuration; calls under way end on what they began with."""
        ...

    def reload_credentials(self) -> None:
        """Read the mounted key files again (their folder changed)."""
        ...

    def missing_credentials(self) -> tuple[str, ...]:
        """Return the names of providers that have credentials configured but none mounted."""
        ...

    def client_for(self, model: str) -> ModelClient:
        """Return the client of PROVIDER/MODEL; raise `ModelError` for an unknown provider."""
        ...

    def passthrough(self, model: str) -> Passthrough | None:
        """Return the byte lane of PROVIDER/MODEL, None where its provider has none."""
        ...

    def list_models(self) -> tuple[ModelInfo, ...]:
        """Return what can be named, the embedded offline model included."""
        ...

    async def aclose(self) -> None:
        """Close every client."""
        ...
