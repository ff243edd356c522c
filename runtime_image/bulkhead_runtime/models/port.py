"""The port between the kernel and whatever answers as a model.

The kernel knows these types and nothing of providers, HTTP or litellm. A provider yields parts as
they arrive and raises `ModelError` (models.errors) for everything that goes wrong; closing the
iterator early cancels the call upstream.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, Protocol

from msgspec import Struct

from bulkhead_api.runtime_config import ModelsConfig
from bulkhead_api.v1alpha1.agent_package import Agent
from bulkhead_runtime.models.errors import ModelError

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class ToolCall(Struct, frozen=True):
    """A call that the model asks for; a stream yields it only when it is complete.

    `arguments` is the JSON text as the model wrote it, which may be garbage.
    """

    id: str
    name: str
    arguments: str


class ModelMessage(Struct, frozen=True):
    """One message of a conversation; `tool_call_id` names the call that a tool message answers.

    `raw_content` holds a client's multi-part content (OpenAI's list of parts), sent on as it is
    by providers that can, where a chat completion brought one; `content` is its text.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    raw_content: tuple[Mapping[str, Any], ...] | None = None


class ToolSpec(Struct, frozen=True):
    """A tool as a model is told of it; `parameters` is a JSON schema.

    `strict` is OpenAI's: whether the arguments will keep to the schema, None where nobody said.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool | None = None


class ModelRequest(Struct, frozen=True):
    """One call of a model.

    `model` is PROVIDER/MODEL, `deadline` a time of `time.monotonic()` at which the call is given
    up. `options` are further OpenAI parameters of a client (top_p, stop, response_format ...),
    already bounded, passed to providers that know them. `traceparent` is the W3C context that the
    provider is told.
    """

    model: str
    messages: tuple[ModelMessage, ...]
    max_output_tokens: int
    deadline: float
    tools: tuple[ToolSpec, ...] = ()
    temperature: float | None = None
    options: Mapping[str, Any] | None = None
    traceparent: str | None = None


class ByteRequest(Struct, frozen=True):
    """A client's streaming chat completion, to be handed on with the least work per read.

    `body` is the decoded request; model, stream, stream_options and the output's limit are set
    anew. A usage chunk is asked of the provider always and written only where `include_usage` is
    True. The client reads `answer_id` and the name of the model that answers.
    """

    model: str
    body: Mapping[str, Any]
    answer_id: str
    include_usage: bool
    max_output_tokens: int
    deadline: float
    traceparent: str | None = None


class TextDelta(Struct, frozen=True):
    """Text that continues the answer; never empty."""

    text: str


class Usage(Struct, frozen=True):
    """What a call took; `cost` is in US dollars, None where no price is known.

    `estimated` is True where the provider did not count.
    """

    input_tokens: int
    output_tokens: int
    cost: Decimal | None = None
    estimated: bool = False


class Finished(Struct, frozen=True):
    """The last part of every stream that ended well; `model` is what the provider says it was."""

    reason: FinishReason
    model: str


Part = TextDelta | ToolCall | Usage | Finished
"""A stream is TextDelta* and ToolCall*, then Usage once, then Finished once."""


class Meter(Struct):
    """What one call of one model took, right once the call has ended, however it ended.

    `sent` tells whether the provider may want to be paid, `begun` whether anything reached the
    caller. `usage` is None where nothing was sent.
    """

    sent: bool = False
    begun: bool = False
    usage: Usage | None = None


class ModelClient(Protocol):
    """Calls the models of one provider, once: trying again is decided elsewhere."""

    def stream(self, request: ModelRequest, meter: Meter) -> AsyncGenerator[Part, None]:
        """Yield the parts of the answer as they arrive; raise `ModelError` when it fails."""
        ...


Write = Callable[[bytes], Awaitable[None]]
"""Sends bytes of an SSE stream to the client; raises when the client has gone."""


class CallBound(Struct, frozen=True):
    """The most that a call can take.

    `input_cost` is that of all its input, `output_price` that of one token of output, in US
    dollars; None where no price is known.
    """

    input_tokens: int
    output_tokens: int
    input_cost: Decimal | None
    output_price: Decimal | None

    @property
    def cost(self) -> Decimal | None:
        """Return the most that it can cost."""
        if self.input_cost is None or self.output_price is None:
            return None
        return self.input_cost + self.output_price * self.output_tokens


class Spent(Struct, frozen=True):
    """What one model that was asked took; an answer out of the cache took nothing."""

    model: str
    usage: Usage
    cached: bool = False


class Switch(Struct, frozen=True):
    """A model failed before the first token, and the plan's next one is about to be asked.

    `spent` is what the failed call may have to be paid, `bound` the most that the next can take.
    """

    failed: str
    error: ModelError
    model: str
    spent: Usage | None
    bound: CallBound


OnSwitch = Callable[[Switch], Awaitable[int]]
"""Reserves for the next model and returns the output tokens it may make; raises to end the call."""


class ModelCall(Protocol):
    """One call over the models of a plan: retried, switched and answered from the cache.

    Until the first token a failure is hidden behind the next try; after it the call ends with the
    `ModelError`, and `spent` tells what it took.
    """

    @property
    def model(self) -> str:
        """Return the PROVIDER/MODEL that was asked last: who answers, once a part is there."""
        ...

    @property
    def spent(self) -> tuple[Spent, ...]:
        """Return what was taken so far, a line for each model; whole once the call has ended.

        Also after a failure or a cancellation; estimated where the provider did not count.
        """
        ...

    def stream(self) -> AsyncGenerator[Part, None]:
        """Yield the parts of the answer, once; raise `ModelError` when no model answers."""
        ...


class ByteCall(Protocol):
    """One call over the models of a plan, byte for byte; otherwise as `ModelCall`."""

    @property
    def model(self) -> str:
        """Return the PROVIDER/MODEL that was asked last."""
        ...

    @property
    def spent(self) -> tuple[Spent, ...]:
        """Return what was taken so far, whole once the call has ended."""
        ...

    async def run(self, write: Write) -> None:
        """Write the answer's frames, once; raise `ModelError` when no model answers.

        Before the first `write` the caller can still answer with a status, afterwards it writes an
        error frame itself. Cancelling the task cancels upstream at once.
        """
        ...


class CacheScope(Struct, frozen=True):
    """For how long, and for whom, a first turn's answer may be repeated.

    `parts` are whatever must be equal besides the request: organization, agent, package, version,
    a digest of the policies.
    """

    seconds: int
    parts: tuple[str, ...]


class ModelInfo(Struct, frozen=True):
    """A model or provider that requests can name.

    `id` is PROVIDER/MODEL where the models of a provider are known, else PROVIDER/*.
    """

    id: str
    provider: str


class Moderation(Struct, frozen=True):
    """A provider's judgement of a text; `categories` are the provider's names of what it found.

    `input_tokens` is None where the provider did not count.
    """

    flagged: bool
    categories: tuple[str, ...]
    input_tokens: int | None = None


Lane = Literal["direct", "translated", "embedded"]


class CatalogEntry(Struct, frozen=True):
    """A model that requests can name, and what is known of it.

    Prices are US dollars per million tokens, sizes tokens; None where unknown. `id` is
    PROVIDER/* for the models of a provider that nobody listed. `unavailable` says why it cannot
    be asked now.
    """

    id: str
    provider: str
    lane: Lane
    input_per_million: Decimal | None = None
    output_per_million: Decimal | None = None
    context_window: int | None = None
    max_output: int | None = None
    capabilities: tuple[str, ...] = ()
    unavailable: str | None = None


class Router(Protocol):
    """Finds and calls models by name; made once, follows configuration and keys.

    The implementation is `models.router.ModelRouter`; constructing it opens nothing and imports no
    HTTP client.
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

    def plan(self, model: str, agent: Agent | None, context: Any) -> tuple[str, ...]:
        """Return the models to ask in order: this one, then the fallbacks that may be used.

        `agent` is None where a client addresses a model; `context` is the `ExecutionContext` that
        the policy engine is asked with. Raises `ModelError` of kind denied, unknown_provider or
        missing_credentials (the last only where no fallback could answer).
        """
        ...

    def bounds(self, request: ModelRequest | ByteRequest) -> CallBound:
        """Return the most that a request can take, counted offline."""
        ...

    def context_window(self, model: str) -> int:
        """Return the tokens that a model can read and write at once; 100,000 where unknown."""
        ...

    def count(self, model: str, messages: Sequence[ModelMessage]) -> tuple[int, ...]:
        """Return about how many tokens each message is, in the measure of the last calls."""
        ...

    def count_tools(self, model: str, tools: Sequence[ToolSpec]) -> int:
        """Return about how many tokens it takes to tell a model of these tools."""
        ...

    def call(
        self,
        request: ModelRequest,
        plan: tuple[str, ...],
        on_switch: OnSwitch | None = None,
        cache: CacheScope | None = None,
    ) -> ModelCall:
        """Return a call of the plan's models; nothing is sent before its stream is read."""
        ...

    def has_byte_lane(self, model: str) -> bool:
        """Tell whether it and its fallbacks stream byte for byte, as far as they can be asked now.

        The fallbacks are those of a model that a client addresses.
        """
        ...

    def byte_call(
        self, request: ByteRequest, plan: tuple[str, ...], on_switch: OnSwitch | None = None
    ) -> ByteCall:
        """Return the call byte for byte, for models of which `has_byte_lane` is True."""
        ...

    def moderation_usage(
        self, text: str, *, provider: str, model: str | None, counted: int | None = None
    ) -> Usage:
        """Return what a moderation takes: as counted by the provider, else the most."""
        ...

    async def moderate(
        self, text: str, *, provider: str, model: str | None, deadline: float
    ) -> Moderation:
        """Ask a provider whether a text is harmful; raise `ModelError` when it cannot tell."""
        ...

    def list_models(self) -> tuple[ModelInfo, ...]:
        """Return what can be named, the embedded offline model included."""
        ...

    def catalog(self) -> tuple[CatalogEntry, ...]:
        """Return every model that is allowed, with prices, sizes and whether it can be asked."""
        ...

    async def aclose(self) -> None:
        """Close every client."""
        ...
