"""How a version shows that it works, before and while it gets traffic."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from bulkhead_api.schema import LIST_ATOMIC, ApiModel, rule, rules
from bulkhead_api.v1alpha1.patterns import DNS_LABEL, HTTP_URL, MONEY, TOOL_NAME

_ONE_OF_THREE = (
    "(has(self.http) ? 1 : 0) + (has(self.tool) ? 1 : 0) + (has(self.prompt) ? 1 : 0) == 1"
)


class HttpCheck(ApiModel):
    """An address that must answer."""

    url: Annotated[
        str,
        Field(
            description=(
                "Asked with GET from the runtime, under the same rules as a tool's address."
            ),
            min_length=8,
            max_length=1024,
            pattern=HTTP_URL,
        ),
    ]
    expected_status: Annotated[
        int, Field(description="HTTP status of the answer.", ge=100, le=599)
    ] = 200


class ToolCheck(ApiModel):
    """A tool that must answer with ok."""

    name: Annotated[
        str, Field(description="Name of the tool.", min_length=1, max_length=64, pattern=TOOL_NAME)
    ]
    arguments: Annotated[
        dict[str, Any],
        Field(
            default={},
            description="Arguments to call it with.",
            json_schema_extra={"x-kubernetes-preserve-unknown-fields": True, "maxProperties": 32},
        ),
    ]


class PromptCheck(ApiModel):
    """A message to an agent, and what its answer must be like."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            # CEL's expressions are RE2's: one that cannot be read ends the rule with the reason.
            rule(
                "!has(self.matches) || ''.matches(self.matches) in [true, false]",
                "must be a regular expression in RE2's syntax",
                field_path=".matches",
            ),
        )
    )

    agent: Annotated[
        str,
        Field(description="One of `spec.agents`.", min_length=1, max_length=63, pattern=DNS_LABEL),
    ]
    message: Annotated[str, Field(description="What is said to it.", min_length=1, max_length=4096)]
    contains: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=256)], ...],
        Field(
            description="Texts that the answer must contain, whatever their case.",
            max_length=16,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()
    not_contains: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=256)], ...],
        Field(
            description="Texts that the answer must not contain, whatever their case.",
            max_length=16,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()
    matches: Annotated[
        str | None,
        Field(
            description=(
                "Regular expression in RE2's syntax that must be found in the answer; (?i) makes "
                "it blind to case."
            ),
            min_length=1,
            max_length=256,
        ),
    ] = None
    max_seconds: Annotated[
        int | None, Field(description="Seconds that the answer may take.", ge=1, le=3600)
    ] = None
    max_cost: Annotated[
        str | None,
        Field(
            description="US dollars that the answer may cost, as decimal text.",
            max_length=16,
            pattern=MONEY,
        ),
    ] = None


class HealthCheck(ApiModel):
    """One thing that must hold; all of them must, before a version gets traffic."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(_ONE_OF_THREE, "must have exactly one of `http`, `tool` and `prompt`"),
        )
    )

    name: Annotated[
        str,
        Field(
            description="Name by which its result is shown.",
            min_length=1,
            max_length=63,
            pattern=DNS_LABEL,
        ),
    ]
    http: Annotated[HttpCheck | None, Field(description="An address must answer.")] = None
    tool: Annotated[ToolCheck | None, Field(description="A tool must answer with ok.")] = None
    prompt: Annotated[
        PromptCheck | None, Field(description="An agent must answer as expected.")
    ] = None
    timeout_seconds: Annotated[int, Field(description="Seconds for one attempt.", ge=1, le=600)] = (
        10
    )
    attempts: Annotated[
        int, Field(description="How often it is tried before it has failed.", ge=1, le=10)
    ] = 3


class DependencyCheck(ApiModel):
    """How to see that a dependency works; the version is not given traffic until it does."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.http) != has(self.tool)", "must have exactly one of `http` and `tool`"),
        )
    )

    http: Annotated[HttpCheck | None, Field(description="An address must answer.")] = None
    tool: Annotated[ToolCheck | None, Field(description="A tool must answer with ok.")] = None
