"""What clients ask the kernel for; `api/` makes these from what it has checked and bounded."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct, field

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.context import Principal
from bulkhead_runtime.models.port import ModelMessage, ModelRequest
from bulkhead_runtime.store.port import AutonomyLevel
from bulkhead_runtime.store.spending import RepeatedAnswer
from bulkhead_runtime.telemetry.trace import Trace

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""What is kept of an answer to be repeated."""


class Repeated(Exception):  # noqa: N818 (an outcome, not an error)
    """The request was carried out before under its idempotency key: `answer` is what it got."""

    def __init__(self, answer: RepeatedAnswer) -> None:
        super().__init__("answered before")
        self.answer = answer


class Repeatable(Struct, frozen=True):
    """An idempotency key and how its answer is told once more.

    `key` is what the client chose, `route` the method and path, `content` the SHA-256 digest of
    the body in hexadecimal. `answer` is called once with what the work returned, before that is
    stored: it returns all that the client gets, for a stream every event. `failure` does the same
    for a failure after something was spent; a failure before frees the key.
    """

    key: str
    route: str
    content: str
    answer: Callable[[Any], RepeatedAnswer]
    failure: Callable[[Problem], RepeatedAnswer]


class Caller(Struct, frozen=True):
    """Who asks, and under which ids; `policies` names further named policies that narrow."""

    principal: Principal
    request_id: str
    trace: Trace
    policies: tuple[str, ...] = ()
    repeatable: Repeatable | None = None


class TurnRequest(Struct, frozen=True):
    """A message to an agent, in the session that `session_id` names or in a new one.

    `metadata`, `title` and `autonomy_level` belong to a new session; `max_output_tokens` only
    lowers the agent's own, `options` are those of a `ModelRequest`.
    """

    agent: str
    message: str
    caller: Caller
    session_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    autonomy_level: AutonomyLevel = "L1"
    max_output_tokens: int | None = None
    temperature: float | None = None
    options: Mapping[str, Any] | None = None


class StatelessRequest(Struct, frozen=True):
    """A whole conversation to an agent, of which nothing is remembered."""

    agent: str
    messages: tuple[ModelMessage, ...]
    caller: Caller
    max_output_tokens: int | None = None
    temperature: float | None = None
    options: Mapping[str, Any] | None = None


class DirectRequest(Struct, frozen=True):
    """One model call without an agent; the model request's deadline is the kernel's to set."""

    model_request: ModelRequest
    caller: Caller


class PassthroughRequest(Struct, frozen=True):
    """A client's streaming chat completion as it came.

    `messages` are those of the body, for limits and bounds; `max_output_tokens` is what the body
    asks for at most, which the budget may lower.
    """

    model: str
    body: Mapping[str, Any]
    answer_id: str
    include_usage: bool
    messages: tuple[ModelMessage, ...]
    max_output_tokens: int
    caller: Caller


class ToolRequest(Struct, frozen=True):
    """One call of a tool without a model."""

    tool: str
    arguments: Mapping[str, Any]
    caller: Caller
