"""What a package version holds: agents, and the tools that it brings for them."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from bulkhead_api.schema import LIST_ATOMIC, LIST_SET, ApiModel
from bulkhead_api.v1alpha1.budgets import Allowance
from bulkhead_api.v1alpha1.patterns import DNS_LABEL, GLOB, MODEL_NAME, TOOL_NAME, URL_TEMPLATE
from bulkhead_api.v1alpha1.policies import Risk

HEADER_NAME = r"^[A-Za-z0-9-]+$"
MAX_PARAMETERS_BYTES = 16384
MAX_PARAMETERS_DEPTH = 16


class Agent(ApiModel):
    """One agent: how it behaves, on which model, with which tools."""

    name: Annotated[
        str,
        Field(
            description="Name in URLs and as a model's name; unique in the organization.",
            min_length=1,
            max_length=63,
            pattern=DNS_LABEL,
        ),
    ]
    description: Annotated[
        str, Field(description="One sentence for people and other agents.", max_length=512)
    ] = ""
    instructions: Annotated[
        str,
        Field(description="System prompt. Users' text never becomes part of it.", max_length=16384),
    ] = ""
    model: Annotated[
        str | None,
        Field(
            description="Model as PROVIDER/MODEL; the organization's default when absent.",
            max_length=256,
            pattern=MODEL_NAME,
        ),
    ] = None
    tools: Annotated[
        tuple[Annotated[str, Field(max_length=64, pattern=TOOL_NAME)], ...],
        Field(
            description="Tools that the agent may call; none when empty.",
            max_length=32,
            json_schema_extra=LIST_SET,
        ),
    ] = ()
    max_iterations: Annotated[
        int, Field(description="Rounds of model and tools for one message.", ge=1, le=50)
    ] = 5
    max_output_tokens: Annotated[
        int, Field(description="Output tokens asked of the model per call.", ge=1, le=131072)
    ] = 2048
    timeout_seconds: Annotated[
        int | None,
        Field(
            description="Seconds for one message; the organization's limit where that is lower.",
            ge=1,
            le=3600,
        ),
    ] = None
    retries: Annotated[
        int | None,
        Field(
            description=(
                "How often a message's first model call is made again when every model failed and "
                "nothing of an answer came; never once a tool ran. 0 when absent."
            ),
            ge=0,
            le=5,
        ),
    ] = None
    allowed_models: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=256, pattern=GLOB)], ...],
        Field(
            description=(
                "Models that the agent may be answered by ('*' for any characters); all that the "
                "organization allows when empty."
            ),
            max_length=16,
            json_schema_extra=LIST_SET,
        ),
    ] = ()
    fallbacks: Annotated[
        tuple[Annotated[str, Field(max_length=256, pattern=MODEL_NAME)], ...],
        Field(
            description=(
                "Models that are asked in this order when the agent's own fails before its first "
                "token; the organization's fallbacks when empty."
            ),
            max_length=8,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()
    cache_seconds: Annotated[
        int,
        Field(
            description="Seconds for which an answer is given again to the same question; 0 never.",
            ge=0,
            le=86400,
        ),
    ] = 0
    budget: Annotated[
        Allowance,
        Field(description="What one request to the agent may use, within the organization's."),
    ] = Allowance()


class HttpTool(ApiModel):
    """A tool that is an HTTP call: arguments in, JSON or text out."""

    name: Annotated[
        str, Field(description="Name by which agents call it.", max_length=64, pattern=TOOL_NAME)
    ]
    description: Annotated[
        str,
        Field(
            description="What models are told that it does, and when to call it.",
            min_length=1,
            max_length=1024,
        ),
    ]
    parameters: Annotated[
        dict[str, Any],
        Field(
            default={"type": "object"},
            description=(
                "JSON schema (an object) of the arguments; at most 16 KiB of JSON and 16 levels."
            ),
            json_schema_extra={"x-kubernetes-preserve-unknown-fields": True, "maxProperties": 32},
        ),
    ]
    method: Annotated[
        Literal["GET", "POST", "PUT", "PATCH", "DELETE"],
        Field(
            description="HTTP method; arguments that the URL does not use go into the query with "
            "GET and DELETE and into a JSON body otherwise."
        ),
    ] = "GET"
    url: Annotated[
        str,
        Field(
            description=(
                "Address; '{name}' in its path stands for the argument of that name. Public "
                "addresses only, but for `spec.tools.privateHosts` of the organization."
            ),
            min_length=8,
            max_length=1024,
            pattern=URL_TEMPLATE,
        ),
    ]
    credential: Annotated[
        str | None,
        Field(
            description="One of `spec.tools.credentials` of the organization.",
            min_length=1,
            max_length=63,
            pattern=DNS_LABEL,
        ),
    ] = None
    header_name: Annotated[
        str,
        Field(
            description="Header that carries the credential: in Authorization after 'Bearer ', in "
            "any other as it is.",
            min_length=1,
            max_length=64,
            pattern=HEADER_NAME,
        ),
    ] = "Authorization"
    risk: Annotated[Risk, Field(description="How much harm a wrong call may do.")] = "medium"
    timeout_seconds: Annotated[
        int, Field(description="Seconds that one call may take.", ge=1, le=300)
    ] = 15
    idempotent: Annotated[
        bool,
        Field(
            description="Whether calling twice does what calling once does, so that a failed "
            "call may be tried again."
        ),
    ] = False

    @field_validator("parameters")
    @classmethod
    def _bounded(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        size = len(json.dumps(parameters))
        if size > MAX_PARAMETERS_BYTES:
            message = f"takes {size} bytes of JSON, at most {MAX_PARAMETERS_BYTES} are allowed"
            raise ValueError(message)
        if parameters.get("type", "object") != "object":
            message = "must describe an object (type: object), because arguments have names"
            raise ValueError(message)
        if _depth(parameters) > MAX_PARAMETERS_DEPTH:
            message = f"is nested deeper than {MAX_PARAMETERS_DEPTH} levels"
            raise ValueError(message)
        return parameters


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
