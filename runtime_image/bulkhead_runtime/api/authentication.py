"""Who calls: the organization's generated key, keys given out, keys made here, tokens of issuers.

The kinds are asked in this order, cheapest first. What is tried and known to nobody costs two
hashes and a look into tables: neither the store nor an issuer is asked once per guess.
"""

from pathlib import Path
from typing import Final

from bulkhead_api import names
from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.api.keyring import Key, fingerprint_of_token
from bulkhead_runtime.api.mounted_keys import MountedKeys
from bulkhead_runtime.api.oidc import Issuers, looks_like_jwt
from bulkhead_runtime.api.stored_keys import TOKEN_PREFIX, StoredKeys
from bulkhead_runtime.config.secrets import Token
from bulkhead_runtime.config.snapshot import Configuration
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.context import EVERYTHING, Principal
from bulkhead_runtime.store.records import KeyLog

GENERATED_KEY: Final = Principal("api-key", frozenset({EVERYTHING}), "api-key")
"""Everybody who holds the key that the operator generated, across its rotations."""

_SCHEME: Final = b"bearer "
_STORED_PREFIX: Final = TOKEN_PREFIX.encode()


class Authenticator:
    """Finds the principal of a request."""

    def __init__(self, generated: Token, secrets_directory: Path, log: KeyLog) -> None:
        self._generated = generated
        self._mounted = MountedKeys(secrets_directory / names.API_KEYS_FOLDER)
        self._issuers = Issuers(secrets_directory / names.OIDC_FOLDER)
        self.stored = StoredKeys(log)

    def follow(self, configuration: Configuration) -> None:
        """Follow a new configuration."""
        authentication = configuration.source.authentication
        self._mounted.configure(authentication.api_keys)
        self._issuers.configure(authentication.oidc)

    def reload(self) -> None:
        """Read the mounted files again."""
        self._mounted.reload()

    async def principal_of(self, exchange: Exchange) -> Principal:
        """Return who calls; raise a 401 `Problem`, or a 503 when that cannot be found out."""
        token = shown_token(exchange)
        if token is None:
            raise unauthorized()
        if self._generated.matches(token):
            return GENERATED_KEY
        fingerprint = fingerprint_of_token(token)
        key: Key | None = self._mounted.ring.find(fingerprint)
        if key is None and token.startswith(_STORED_PREFIX):
            key = await self.stored.find(fingerprint)
        if key is not None:
            return key.require_valid()
        if looks_like_jwt(token):
            principal = await self._issuers.principal_of(token, fingerprint)
            if principal is not None:
                return principal
        raise unauthorized()


def authenticate(exchange: Exchange, token: Token) -> None:
    """Raise a 401 `Problem` unless the caller shows this one token."""
    shown = shown_token(exchange)
    if shown is None or not token.matches(shown):
        raise unauthorized()


def shown_token(exchange: Exchange) -> bytes | None:
    """Return the bearer token of a request, None where there is none."""
    shown = exchange.headers.get(b"authorization", b"")
    if shown[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return shown[len(_SCHEME) :].strip() or None


def unauthorized() -> Problem:
    """Return the one answer to a key that is missing or unknown."""
    return Problem(
        401,
        "unauthorized",
        "Show one of this organization's API keys or a token of its issuer: send the header "
        "`Authorization: Bearer KEY`.",
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
