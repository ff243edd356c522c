"""Who may call an organization's endpoint, and what for."""

from typing import Annotated, Literal

from pydantic import Field

from bulkhead_api.schema import LIST_SET, ApiModel, list_map
from bulkhead_api.v1alpha1.patterns import DNS_LABEL, SECURE_URL
from bulkhead_api.v1alpha1.secret_refs import CertificateRef, TokenRef

Scope = Literal[
    "*",
    "agents:run",
    "sessions:read",
    "sessions:write",
    "sessions:any",
    "usage:read",
    "events:read",
    "tools:run",
    "models:call",
    "policies:write",
    "keys:write",
]
_CLAIM = r"^[-._:/a-zA-Z0-9]+$"


class ApiKey(ApiModel):
    """A key from a Secret, beside the one that the operator generates."""

    name: Annotated[
        str,
        Field(
            description="Name in logs, events and the usage of budgets.",
            min_length=1,
            max_length=63,
            pattern=DNS_LABEL,
        ),
    ]
    secret_ref: Annotated[
        TokenRef,
        Field(
            description=(
                "Field with the token itself or with 'sha256:' and the hexadecimal SHA-256 of it; "
                "a changed value holds without a restart."
            )
        ),
    ]
    principal: Annotated[
        str | None,
        Field(
            description="Who calls with this key, and so whose sessions they are; the key's name "
            "when absent.",
            min_length=1,
            max_length=128,
            pattern=r"^[!-~]+$",
        ),
    ] = None
    scopes: Annotated[
        tuple[Scope, ...],
        Field(
            description="What the key is good for; '*' is everything.",
            min_length=1,
            max_length=11,
            json_schema_extra=LIST_SET,
        ),
    ]
    expires_at: Annotated[
        str | None,
        Field(
            description="When the key ends (RFC 3339); never when absent.",
            max_length=35,
            pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2})$",
            json_schema_extra={"format": "date-time"},
        ),
    ] = None


class OidcIssuer(ApiModel):
    """An issuer whose JSON Web Tokens are accepted."""

    name: Annotated[
        str,
        Field(
            description="Name in logs and of its certificate's file.",
            min_length=1,
            max_length=63,
            pattern=DNS_LABEL,
        ),
    ]
    issuer: Annotated[
        str,
        Field(
            description=(
                "The issuer exactly as tokens name it; https, or http inside the cluster. Reached "
                "only where `spec.network.egress` allows it."
            ),
            min_length=8,
            max_length=512,
            pattern=SECURE_URL,
        ),
    ]
    audience: Annotated[
        str,
        Field(
            description="The audience that tokens must be for.",
            min_length=1,
            max_length=256,
            pattern=r"^[!-~]+$",
        ),
    ]
    jwks_uri: Annotated[
        str | None,
        Field(
            alias="jwksURI",
            description="Where the issuer's keys are; found by discovery when absent.",
            min_length=8,
            max_length=1024,
            pattern=SECURE_URL,
        ),
    ] = None
    principal_claim: Annotated[
        str,
        Field(
            description="Claim that names who calls.", min_length=1, max_length=128, pattern=_CLAIM
        ),
    ] = "sub"
    scopes_claim: Annotated[
        str,
        Field(
            description="Claim with the scopes: text with spaces between them, or a list.",
            min_length=1,
            max_length=128,
            pattern=_CLAIM,
        ),
    ] = "scope"
    ca_secret_ref: Annotated[
        CertificateRef | None,
        Field(
            description="Certificates that the issuer's own is checked with; the image's when "
            "absent."
        ),
    ] = None


class Authentication(ApiModel):
    """Keys and issuers besides the key that the operator generates, which may do everything."""

    api_keys: Annotated[
        tuple[ApiKey, ...],
        Field(
            description="Keys from Secrets, each with its principal and scopes.",
            max_length=64,
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    oidc: Annotated[
        tuple[OidcIssuer, ...],
        Field(
            description="Issuers whose tokens are accepted.",
            max_length=8,
            json_schema_extra=list_map("name"),
        ),
    ] = ()
