"""Tokens of OIDC issuers: signature, issuer, audience and expiry proven before a claim is believed.

PyJWT and cryptography are imported by the first such token. A token that was proven is remembered
by its fingerprint, so that a signature is not verified per request: until it expires, and no longer
than keys are, so that one whose key was withdrawn ends.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from bulkhead_api.v1alpha1.authentication import OidcIssuer
from bulkhead_runtime.api.jwks import FRESH_SECONDS, KeySet
from bulkhead_runtime.api.keyring import Fingerprint
from bulkhead_runtime.api.scopes import SCOPES
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.context import Principal

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Only signatures that an issuer's public key proves; never a shared secret, never `none`."""

CLOCK_SKEW_SECONDS: Final = 60
MAX_TOKEN_BYTES: Final = 8192
MAX_REMEMBERED: Final = 1024
_MAX_SUBJECT_CHARACTERS: Final = 192
_DOTS: Final = 2


def looks_like_jwt(token: bytes) -> bool:
    """Tell whether a bearer token can be a JWT: a JSON object in base64 and two dots."""
    return token.startswith(b"eyJ") and token.count(b".") == _DOTS


class Issuers:
    """The issuers that spec.authentication.oidc names."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._issuers: tuple[tuple[OidcIssuer, KeySet], ...] = ()
        self._proven: OrderedDict[Fingerprint, tuple[float, Principal]] = OrderedDict()
        self._jwt: ModuleType | None = None

    def configure(self, issuers: tuple[OidcIssuer, ...]) -> None:
        """Follow a new configuration; what was proven under the old one is forgotten."""
        self._issuers = tuple(
            (issuer, KeySet(issuer, self._directory / f"{issuer.name}.pem", self._clock))
            for issuer in issuers
        )
        self._proven.clear()

    async def principal_of(self, token: bytes, fingerprint: Fingerprint) -> Principal | None:
        """Return whom a token stands for, None where no issuer is configured.

        Raises a 401 `Problem` for a token that proves nothing, a 503 when its key must be fetched
        and the issuer cannot be reached.
        """
        if not self._issuers:
            return None
        until, principal = self._proven.get(fingerprint, (0.0, None))
        if principal is None or until <= self._clock():
            if len(token) > MAX_TOKEN_BYTES:
                raise _refused(f"it has more than {MAX_TOKEN_BYTES} bytes")
            seconds, principal = await self._prove(token.decode("latin-1"))
            self._remember(fingerprint, self._clock() + seconds, principal)
        return principal

    async def _prove(self, token: str) -> tuple[float, Principal]:
        """Return for how many seconds a token need not be proven again, and whom it stands for."""
        jwt = self._jwt or await self._import()
        try:
            header = jwt.get_unverified_header(token)
            claimed = jwt.decode(token, options={"verify_signature": False})
        except jwt.PyJWTError as error:
            raise _refused("it is not a well-formed JWT") from error
        issuer, keys = self._issuer_of(claimed)
        key = await keys.find(jwt, header.get("kid"))
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=issuer.audience,
                issuer=issuer.issuer,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise Problem(401, "token_expired", "The token has expired. Get a new one.") from error
        except jwt.PyJWTError as error:
            raise _refused(_reason(jwt, error)) from error
        left = int(claims["exp"]) + CLOCK_SKEW_SECONDS - int(time.time())
        return min(left, FRESH_SECONDS), _principal(issuer, claims)

    def _issuer_of(self, claimed: Mapping[str, Any]) -> tuple[OidcIssuer, KeySet]:
        """Return the entry that a token is for; an issuer may stand in several, by audience."""
        found = [one for one in self._issuers if one[0].issuer == claimed.get("iss")]
        if not found:
            raise _refused("no issuer of spec.authentication.oidc has made it (claim `iss`)")
        audiences = claimed.get("aud")
        meant = audiences if isinstance(audiences, list) else [audiences]
        return next((one for one in found if one[0].audience in meant), found[0])

    async def _import(self) -> ModuleType:
        self._jwt = await asyncio.to_thread(_import_jwt)
        return self._jwt

    def _remember(self, fingerprint: Fingerprint, until: float, principal: Principal) -> None:
        self._proven[fingerprint] = (until, principal)
        self._proven.move_to_end(fingerprint)
        if len(self._proven) > MAX_REMEMBERED:
            self._proven.popitem(last=False)


def _import_jwt() -> ModuleType:
    import jwt  # noqa: PLC0415 (0.15 s with cryptography, paid by those who use OIDC)

    return jwt


def _principal(issuer: OidcIssuer, claims: Mapping[str, Any]) -> Principal:
    subject = claims.get(issuer.principal_claim)
    if not isinstance(subject, str) or not _is_name(subject):
        raise _refused(
            f"its claim {issuer.principal_claim!r} is not a text of at most "
            f"{_MAX_SUBJECT_CHARACTERS} printable characters"
        )
    # The issuer's name keeps its subjects apart from those of API keys and other issuers.
    return Principal(f"{issuer.name}:{subject}", _scopes(issuer, claims), issuer.name)


def _is_name(subject: str) -> bool:
    return 0 < len(subject) <= _MAX_SUBJECT_CHARACTERS and subject.isprintable()


def _scopes(issuer: OidcIssuer, claims: Mapping[str, Any]) -> frozenset[str]:
    value = claims.get(issuer.scopes_claim, "")
    named = value.split() if isinstance(value, str) else value
    if not isinstance(named, list):
        return frozenset()
    return frozenset(scope for scope in SCOPES if scope in named)


def _reason(jwt: ModuleType, error: Exception) -> str:
    match error:
        case jwt.InvalidAudienceError():
            return "it is made for another audience (claim `aud`)"
        case jwt.MissingRequiredClaimError():
            return "a claim of `exp`, `iss` and `aud` is missing"
        case jwt.ImmatureSignatureError():
            return "it is not valid yet"
        case jwt.InvalidAlgorithmError():
            return "its algorithm is not allowed for its key"
        case _:
            return "its signature or a claim does not hold"


def _refused(reason: str) -> Problem:
    return Problem(401, "invalid_token", f"The token is refused: {reason}.")
