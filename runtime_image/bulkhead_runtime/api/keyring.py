"""API keys as the process holds them: fingerprints to look up by, never a token.

A fingerprint is a keyed hash under a secret of this process over the SHA-256 digest of a token, so
that neither the time of a lookup nor a dump of memory says anything about a token.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.context import Principal

Fingerprint = bytes

DIGEST_PREFIX: Final = b"sha256:"
_DIGEST: Final = re.compile(rb"sha256:(?P<digest>[0-9a-f]{64})")
_PROCESS_SECRET: Final = secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class Key:
    """Whom a token stands for, until `expires_at` (Unix milliseconds; None is for ever)."""

    principal: Principal
    expires_at: int | None = None

    def require_valid(self) -> Principal:
        """Return the principal; raise a 401 `Problem` when the key has expired."""
        if self.expires_at is not None and self.expires_at <= time.time() * 1000:
            raise Problem(
                401,
                "key_expired",
                f"The API key {self.principal.key_name!r} has expired. Ask for a new one.",
            )
        return self.principal


def fingerprint_of_token(token: bytes) -> Fingerprint:
    """Return what a shown token is looked up by."""
    return fingerprint_of_digest(hashlib.sha256(token).digest())


def fingerprint_of_digest(digest: bytes) -> Fingerprint:
    """Return what the token of a SHA-256 digest is looked up by."""
    return hashlib.blake2b(digest, key=_PROCESS_SECRET, digest_size=16).digest()


def fingerprint_of_secret(content: bytes) -> Fingerprint | None:
    """Return the fingerprint for a mounted value, a token or `sha256:HEX`; None for a bad one."""
    if not content.startswith(DIGEST_PREFIX):
        return fingerprint_of_token(content) if content else None
    match = _DIGEST.fullmatch(content)
    return fingerprint_of_digest(bytes.fromhex(match["digest"].decode())) if match else None


class Keyring:
    """The keys of one source, replaced as a whole."""

    def __init__(self) -> None:
        self._keys: Mapping[Fingerprint, Key] = {}

    def replace(self, keys: Iterable[tuple[Fingerprint, Key]]) -> None:
        """Know these keys from now on, and no others."""
        self._keys = dict(keys)

    def find(self, fingerprint: Fingerprint) -> Key | None:
        """Return the key of a token, None where there is none."""
        return self._keys.get(fingerprint)
