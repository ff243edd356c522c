"""Which models an organization's agents use, and where those come from."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from bulkhead_api.names import OFFLINE_MODEL
from bulkhead_api.schema import ApiModel, list_map, rule, rules
from bulkhead_api.v1alpha1.patterns import DATA_KEY, DNS_LABEL, DNS_SUBDOMAIN, MODEL_NAME


class CredentialsRef(ApiModel):
    """A field of a Secret in the organization's own namespace."""

    name: Annotated[
        str,
        Field(
            description="Name of the Secret in the organization's namespace.",
            min_length=1,
            max_length=253,
            pattern=DNS_SUBDOMAIN,
        ),
    ]
    key: Annotated[
        str,
        Field(
            description="Field of the Secret that holds the provider's API key.",
            min_length=1,
            max_length=253,
            pattern=DATA_KEY,
        ),
    ] = "api-key"


class Provider(ApiModel):
    """Where models come from."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.type != 'OpenAICompatible' || has(self.baseURL)",
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
            pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$",
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
