"""Which models an organization's agents use, and where those come from."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from bulkhead_api.names import OFFLINE_MODEL
from bulkhead_api.schema import LIST_ATOMIC, LIST_SET, ApiModel, list_map, rule, rules
from bulkhead_api.v1alpha1.patterns import DNS_LABEL, GLOB, HTTP_URL, MODEL_NAME, MONEY
from bulkhead_api.v1alpha1.policies import ModelPolicy
from bulkhead_api.v1alpha1.secret_refs import CredentialsRef


class CircuitBreaker(ApiModel):
    """Stops asking a provider that keeps failing."""

    failures: Annotated[
        int, Field(description="Failures in a row after which it is not asked.", ge=1, le=1000)
    ] = 5
    open_seconds: Annotated[
        int, Field(description="Seconds until it is tried again.", ge=1, le=3600)
    ] = 30


class Provider(ApiModel):
    """Where models come from."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "(has(self.type) && self.type != 'OpenAICompatible') || has(self.baseURL)",
                "`baseURL` must be given for type 'OpenAICompatible', for example "
                "'https://api.example.com/v1'",
            ),
            rule(
                "self.name != 'offline'",
                "must not be 'offline': that name belongs to the embedded model; choose another",
                field_path=".name",
            ),
        )
    )

    name: Annotated[
        str,
        Field(
            description="First part of a model's name: NAME/MODEL.",
            min_length=1,
            max_length=40,
            pattern=DNS_LABEL,
        ),
    ]
    type: Annotated[
        Literal["OpenAICompatible", "LiteLLM"],
        Field(
            description=(
                "OpenAICompatible talks to baseURL directly. LiteLLM serves every other provider "
                "by litellm's name for it (for example anthropic) and needs maxMemoryMB of at "
                "least 512."
            ),
        ),
    ] = "OpenAICompatible"
    base_url: Annotated[
        str | None,
        Field(
            alias="baseURL",
            description=(
                "Address of the API, up to and including its version, without credentials in it. "
                "Reached from the organization's namespace only, and only where "
                "spec.network.egress allows it."
            ),
            min_length=8,
            max_length=1024,
            pattern=HTTP_URL,
        ),
    ] = None
    credentials_ref: Annotated[
        CredentialsRef | None,
        Field(description="The API key; absent for a provider that asks for none."),
    ] = None
    timeout_seconds: Annotated[
        int,
        Field(
            description="Seconds to wait for an answer, and between two parts of a stream.",
            ge=1,
            le=3600,
        ),
    ] = 60
    max_retries: Annotated[
        int,
        Field(description="Times that a call is tried again before its first token.", ge=0, le=10),
    ] = 2
    circuit_breaker: Annotated[
        CircuitBreaker, Field(description="Stops asking a provider that keeps failing.")
    ] = CircuitBreaker()


class ModelPrice(ApiModel):
    """What a model costs and holds; goes before the table that comes with the runtime."""

    model: Annotated[
        str,
        Field(description="The model as PROVIDER/MODEL.", max_length=256, pattern=MODEL_NAME),
    ]
    input_per_million: Annotated[
        str,
        Field(
            description="US dollars per million input tokens, as decimal text.",
            max_length=16,
            pattern=MONEY,
        ),
    ]
    output_per_million: Annotated[
        str,
        Field(
            description="US dollars per million output tokens, as decimal text.",
            max_length=16,
            pattern=MONEY,
        ),
    ]
    context_window: Annotated[
        int | None,
        Field(
            description="Tokens that the model takes in all; what is known when absent, else "
            "100000.",
            ge=256,
            le=100_000_000,
        ),
    ] = None
    max_output: Annotated[
        int | None,
        Field(description="Most tokens that the model answers with.", ge=1, le=10_000_000),
    ] = None


class Models(ApiModel):
    """Which models the agents use."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.default.startsWith('offline/') || "
                "self.providers.exists(p, self.default.startsWith(p.name + '/'))",
                "must name one of `spec.models.providers` or 'offline': write PROVIDER/MODEL",
                value="self.default",
                field_path=".default",
            ),
            rule(
                "self.fallbacks.all(f, f.startsWith('offline/') || "
                "self.providers.exists(p, f.startsWith(p.name + '/')))",
                "must each name one of `spec.models.providers` or 'offline': write PROVIDER/MODEL",
                field_path=".fallbacks",
            ),
        )
    )

    default: Annotated[
        str,
        Field(
            description=(
                "Model of agents that name none, as PROVIDER/MODEL. The embedded offline model "
                "answers without any provider or key."
            ),
            max_length=256,
            pattern=MODEL_NAME,
        ),
    ] = OFFLINE_MODEL
    providers: Annotated[
        tuple[Provider, ...],
        Field(
            description="Providers that models may come from.",
            max_length=16,
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    allowed: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=256, pattern=GLOB)], ...],
        Field(
            description="Models that may be called at all ('*' for any characters, '?' for one).",
            min_length=1,
            max_length=64,
            json_schema_extra=LIST_SET,
        ),
    ] = ("*",)
    fallbacks: Annotated[
        tuple[Annotated[str, Field(max_length=256, pattern=MODEL_NAME)], ...],
        Field(
            description=(
                "Models that are asked in this order when one fails before its first token (429, "
                "5xx, timeout, no connection)."
            ),
            max_length=8,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()
    prices: Annotated[
        tuple[ModelPrice, ...],
        Field(
            description="Prices that go before those that the runtime knows.",
            max_length=256,
            json_schema_extra=list_map("model"),
        ),
    ] = ()
    policy: Annotated[ModelPolicy, Field(description="Decides about every call of a model.")] = (
        ModelPolicy()
    )
