"""The public keys of one OIDC issuer: fetched on need, kept, fetched again when one is unknown.

Tokens with unknown keys cause at most one fetch per `RETRY_SECONDS`, however many are tried. While
the issuer is away the keys that are known go on to prove tokens.
"""

import asyncio
import ipaddress
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from bulkhead_api.v1alpha1.authentication import OidcIssuer
from bulkhead_runtime.errors import Problem

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 30.0
FRESH_SECONDS: Final = 600.0
"""How soon a key that the issuer withdrew is noticed while tokens arrive."""

_FETCH_SECONDS: Final = 5
_MAX_BYTES: Final = 256 * 1024
_MAX_KEYS: Final = 64
_DISCOVERY: Final = "/.well-known/openid-configuration"
_CLUSTER_SUFFIXES: Final = (".svc", ".svc.cluster.local")


class KeySet:
    """Finds keys by their id."""

    def __init__(
        self, issuer: OidcIssuer, ca_file: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._ca_file = ca_file
        self._clock = clock
        self._keys: Mapping[str | None, Any] = {}
        self._fetched_at = self._tried_at = -FRESH_SECONDS
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, jwt: ModuleType, key_id: str | None) -> Any:
        """Return the PyJWK of an id; raise a 401 `Problem` for none, a 503 when that is unknown."""
        now = self._clock()
        if key_id not in self._keys:
            if now - self._tried_at > RETRY_SECONDS or self._in_flight:
                await asyncio.shield(self._fetch(jwt))
        elif now - self._fetched_at > FRESH_SECONDS and now - self._tried_at > RETRY_SECONDS:
            self._fetch(jwt)
        if key_id in self._keys:
            return self._keys[key_id]
        if self._failed:
            raise Problem(
                503,
                "issuer_unavailable",
                f"The keys of the OIDC issuer {self._issuer.name!r} cannot be fetched, so the "
                "token cannot be checked. Try again later.",
                retry_after=RETRY_SECONDS,
            )
        raise Problem(
            401, "invalid_token", "The token is refused: its issuer knows no key of its id (`kid`)."
        )

    @property
    def _in_flight(self) -> bool:
        return self._fetching is not None and not self._fetching.done()

    def _fetch(self, jwt: ModuleType) -> "asyncio.Task[None]":
        if self._fetching is None or self._fetching.done():
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._follow(jwt))
        return self._fetching

    async def _follow(self, jwt: ModuleType) -> None:
        try:
            self._keys = _usable(jwt, await self._download())
        except Exception as error:  # noqa: BLE001 (whatever it is, the issuer could not be asked)
            self._failed = True
            log.warning(
                "OIDC keys not fetched",
                extra={"issuer": self._issuer.name, "reason": type(error).__name__},
            )
        else:
            self._failed = False
            self._fetched_at = self._clock()

    async def _download(self) -> Any:
        import aiohttp  # noqa: PLC0415 (shared with the models; not before it is needed)

        timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            address = self._issuer.jwks_uri
            if address is None:
                discovered = await self._get(http, self._issuer.issuer.rstrip("/") + _DISCOVERY)
                address = discovered["jwks_uri"]
            return await self._get(http, address)

    async def _get(self, http: Any, address: str) -> Any:
        require_safe(address)
        context = await asyncio.to_thread(self._trust) if address.startswith("https:") else None
        async with http.get(address, allow_redirects=False, ssl=context or True) as response:
            response.raise_for_status()
            body = await response.content.read(_MAX_BYTES + 1)
            while len(body) <= _MAX_BYTES and (more := await response.content.read(_MAX_BYTES)):
                body += more
        if len(body) > _MAX_BYTES:
            raise ValueError("too large")
        return orjson.loads(body)

    def _trust(self) -> ssl.SSLContext:
        own = str(self._ca_file) if self._ca_file.exists() else None
        return ssl.create_default_context(cafile=own)


def require_safe(address: str) -> None:
    """Raise a ValueError for an address whose answer somebody on the way could change."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "https" or (parts.scheme == "http" and _is_near(host)):
        return
    raise ValueError("keys must come by https")


def _is_near(host: str) -> bool:
    """Tell whether a host is of this machine or this cluster."""
    if host == "localhost" or host.endswith(_CLUSTER_SUFFIXES):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _usable(jwt: ModuleType, document: Any) -> Mapping[str | None, Any]:
    """Return public keys for signatures by their id; a set of one needs no id."""
    keys = dict(_signing(jwt, document["keys"][:_MAX_KEYS]))
    if len(keys) == 1:
        keys[None] = next(iter(keys.values()))
    return keys


def _signing(jwt: ModuleType, listed: list[Any]) -> Iterator[tuple[str | None, Any]]:
    """Yield the keys that can prove a token; one that cannot is no reason to do without others."""
    for key in filter(_is_for_signatures, listed):
        try:
            yield key.get("kid"), jwt.PyJWK(key)
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            log.info("OIDC key left out", extra={"reason": type(error).__name__})


def _is_for_signatures(key: Any) -> bool:
    return (
        isinstance(key, dict)
        and key.get("kty") in {"RSA", "EC", "OKP"}
        and key.get("use", "sig") == "sig"
        and isinstance(key.get("kid"), str | None)
    )
