"""Keys that were made through the API: shown once, kept as digests in the store of record.

Every replica holds a copy that is at most `FRESH_SECONDS` old when it lets a key in, so a key
revoked elsewhere stops working within that time. A token is refused by a copy read after it came,
so a key made elsewhere works at once; such reads begin `RETRY_SECONDS` apart, and who tries tokens
waits for the next, however many there are. Nothing is read while no such key is shown.
"""

import asyncio
import hashlib
import secrets
import time
from typing import Final

from bulkhead_runtime.api.keyring import Fingerprint, Key, Keyring, fingerprint_of_digest
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.context import Principal
from bulkhead_runtime.store.records import KeyLog, StoredKey

TOKEN_PREFIX: Final = "bhk_"  # noqa: S105 (what all tokens begin with)
FRESH_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 1.0


class StoredKeys:
    """The organization's own keys."""

    def __init__(self, log: KeyLog) -> None:
        self._log = log
        self._ring = Keyring()
        self._lock = asyncio.Lock()
        self._read_at = self._tried_at = -FRESH_SECONDS
        self._failure: Problem | None = None

    async def find(self, fingerprint: Fingerprint) -> Key | None:
        """Return the key of a token; raise a 503 `Problem` while the store cannot be asked."""
        came_at = time.monotonic()
        found = self._ring.find(fingerprint)
        oldest = came_at - FRESH_SECONDS if found else came_at
        if self._read_at < oldest:
            async with self._lock:
                await self._read_since(oldest)
            found = self._ring.find(fingerprint)
        return found

    async def make(
        self, name: str, principal: str, scopes: frozenset[str], expires_at: int | None
    ) -> tuple[StoredKey, str]:
        """Make a key; returns what is kept and the token, which is not.

        Raises a 409 `Problem` for a name that is taken, or when there are too many.
        """
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        key = StoredKey(
            name=name,
            digest=hashlib.sha256(token.encode()).hexdigest(),
            principal=principal,
            scopes=tuple(sorted(scopes)),
            created_at=int(time.time() * 1000),
            expires_at=expires_at,
        )
        if not await self._log.put_key(key):
            raise Problem(
                409,
                "key_exists",
                f"There is an API key {name!r} already. Delete it first or choose another name.",
                field="name",
            )
        async with self._lock:
            await self._read()
        return key, token

    async def list(self) -> tuple[StoredKey, ...]:
        """Return all keys, without their tokens, ordered by name."""
        return await self._log.keys()

    async def revoke(self, name: str) -> None:
        """Remove a key; raises a 404 `Problem` where there is none of that name."""
        if not await self._log.delete_key(name):
            raise Problem(404, "unknown_key", f"There is no API key {name[:63]!r}.")
        async with self._lock:
            await self._read()

    async def _read_since(self, oldest: float) -> None:
        """Read all keys unless that was done since; raises what another caller just met."""
        if self._read_at >= oldest:
            return
        pause = self._tried_at + RETRY_SECONDS - time.monotonic()
        if pause > 0:
            if self._failure is not None:
                raise self._failure
            await asyncio.sleep(pause)
        self._tried_at = time.monotonic()
        try:
            await self._read()
        except Problem as problem:
            self._failure = problem
            raise

    async def _read(self) -> None:
        asked_at = time.monotonic()
        keys = await self._log.keys()
        self._ring.replace(
            (fingerprint_of_digest(bytes.fromhex(key.digest)), _key(key)) for key in keys
        )
        self._read_at, self._failure = asked_at, None


def _key(stored: StoredKey) -> Key:
    principal = Principal(stored.principal, frozenset(stored.scopes), stored.name)
    return Key(principal, stored.expires_at)
