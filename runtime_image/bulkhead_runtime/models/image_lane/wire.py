"""What runtime and image say to each other; docs/author/dedicated-packages.md is the contract."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from bulkhead_api.v1alpha1.patterns import MONEY
from bulkhead_runtime.models.port import ModelMessage, ModelRequest

HEALTH_PATH: Final = "/bulkhead/v1/health"
EXECUTE_PATH: Final = "/bulkhead/v1/execute"

MAX_TOKENS: Final = 1_000_000_000
"""More than any call takes, so that what an image says cannot overflow an account."""


class ModelAccess(Struct, frozen=True):
    """Where models can be called during one execution, as OpenAI's clients do, and with what."""

    base_url: str
    token: str


class About(Struct, frozen=True):
    """Whose call it is; the one secret in it is worth nothing when the call has ended."""

    agent: str
    package: str
    version: str
    run_id: str = ""
    session_id: str | None = None
    model: str = ""
    """The model that the agent is configured with: a wish that the image may follow."""

    models: ModelAccess | None = None


class Text(Struct, frozen=True, tag_field="type", tag="text"):
    """Text that continues the answer."""

    text: str


class Call(Struct, frozen=True, tag_field="type", tag="tool_call"):
    """A tool that the runtime is to run; `arguments` is JSON text or an object."""

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    name: Annotated[str, Meta(min_length=1, max_length=128)]
    arguments: str | dict[str, Any] = "{}"


class Used(Struct, frozen=True, tag_field="type", tag="usage"):
    """What the image spent by itself; `cost` in US dollars as decimal text."""

    input_tokens: Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
    output_tokens: Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
    cost: Annotated[str, Meta(max_length=17, pattern=MONEY)] | None = None


class Failed(Struct, frozen=True, tag_field="type", tag="error"):
    """The image gave up; `message` is for people."""

    message: str = ""


class Done(Struct, frozen=True, tag_field="type", tag="done"):
    """The answer is complete; whatever follows is not read."""

    finish_reason: Literal["stop", "length", "content_filter"] = "stop"


Event = Text | Call | Used | Failed | Done


class Health(Struct, frozen=True):
    """What an image says of itself."""

    status: Literal["ok"]


event_decoder: Final = msgspec.json.Decoder(Event)
health_decoder: Final = msgspec.json.Decoder(Health)


def body_of(request: ModelRequest, about: About, seconds: float) -> dict[str, Any]:
    """Return what an image is asked; `seconds` is the time that it has."""
    body: dict[str, Any] = {
        "agent": about.agent,
        "package": about.package,
        "version": about.version,
        "run_id": about.run_id,
        "session_id": about.session_id,
        "model": about.model,
        "messages": [_message(message) for message in request.messages],
        "tools": [
            {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            }
            for tool in request.tools
        ],
        "max_output_tokens": request.max_output_tokens,
        "deadline_seconds": round(seconds, 3),
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.options:
        body["options"] = dict(request.options)
    if about.models is not None:
        body["models"] = {"base_url": about.models.base_url, "token": about.models.token}
    return body


def _message(message: ModelMessage) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        body["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": call.arguments}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body
