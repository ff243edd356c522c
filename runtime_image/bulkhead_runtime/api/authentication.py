"""Who may call: one key per organization, shown as a bearer token."""

from typing import Final

from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.config.secrets import Token
from bulkhead_runtime.errors import Problem

PRINCIPAL: Final = "api-key"
"""Whose the sessions are: everybody who holds the organization's key, across its rotations."""

_SCHEME: Final = b"bearer "


def authenticate(exchange: Exchange, token: Token) -> None:
    """Raise a 401 `Problem` unless the caller shows the token."""
    shown = exchange.headers.get(b"authorization", b"")
    if shown[: len(_SCHEME)].lower() != _SCHEME or not token.matches(shown[len(_SCHEME) :].strip()):
        raise Problem(
            401,
            "unauthorized",
            "Show this organization's API key: send the header `Authorization: Bearer KEY`.",
        )


def refuse_other_organization(exchange: Exchange, organization: str) -> None:
    """Raise a 403 `Problem` when the caller names an organization that is not this one."""
    named = exchange.headers.get(b"x-org-id")
    if named is not None and named != organization.encode():
        raise Problem(
            403,
            "wrong_organization",
            "The header `X-Org-Id` names an organization that does not answer here. Leave it out "
            "or call that organization's own endpoint.",
        )
