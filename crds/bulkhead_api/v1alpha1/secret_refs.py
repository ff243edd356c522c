"""References to fields of Secrets: names only, the values are mounted and never copied."""

from typing import Annotated

from pydantic import Field

from bulkhead_api.schema import ApiModel
from bulkhead_api.v1alpha1.patterns import DATA_KEY, DNS_SUBDOMAIN

SecretField = Annotated[
    str,
    Field(
        description="Field of the Secret that holds the value.",
        min_length=1,
        max_length=253,
        pattern=DATA_KEY,
    ),
]


class SecretRef(ApiModel):
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
    key: SecretField


class CredentialsRef(SecretRef):
    """A field that holds an API key."""

    key: Annotated[
        str,
        Field(
            description="Field of the Secret that holds the API key.",
            min_length=1,
            max_length=253,
            pattern=DATA_KEY,
        ),
    ] = "api-key"


class TokenRef(SecretRef):
    """A field that holds a token."""

    key: SecretField = "token"


class DsnRef(SecretRef):
    """A field that holds a connection string, password included."""

    key: SecretField = "dsn"


class UrlRef(SecretRef):
    """A field that holds an address, password included."""

    key: SecretField = "url"


class HeadersRef(SecretRef):
    """A field that holds HTTP headers, one `Name: value` per line."""

    key: SecretField = "headers"


class CertificateRef(SecretRef):
    """A field that holds certificates in PEM."""

    key: SecretField = "ca.crt"
