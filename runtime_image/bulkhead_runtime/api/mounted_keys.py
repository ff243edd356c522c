"""Keys that the platform team gives out: entries of spec.authentication.apiKeys, mounted as files.

A file holds the token or `sha256:` and its digest; a file that changes is followed without a
restart, one that is missing, empty, too large or malformed lets nobody in.
"""

import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from bulkhead_api.v1alpha1.authentication import ApiKey
from bulkhead_runtime.api.keyring import Fingerprint, Key, Keyring, fingerprint_of_secret
from bulkhead_runtime.config.secrets import MAX_TOKEN_BYTES
from bulkhead_runtime.kernel.context import Principal

log = logging.getLogger(__name__)


class MountedKeys:
    """The keys that the configuration names, with what their files hold now."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._entries: tuple[ApiKey, ...] = ()
        self.ring = Keyring()

    def configure(self, entries: tuple[ApiKey, ...]) -> None:
        """Follow a new configuration."""
        self._entries = entries
        self.reload()

    def reload(self) -> None:
        """Read the files again."""
        self.ring.replace(self._read())

    def _read(self) -> Iterator[tuple[Fingerprint, Key]]:
        for entry in self._entries:
            fingerprint = fingerprint_of_secret(_content(self._directory / entry.name))
            if fingerprint is None:
                log.warning("API key not usable", extra={"key": entry.name})
                continue
            principal = Principal(
                entry.principal or entry.name, frozenset(entry.scopes), entry.name
            )
            yield fingerprint, Key(principal, _milliseconds(entry))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TOKEN_BYTES + 1).strip()
    except OSError:
        return b""
    return content if len(content) <= MAX_TOKEN_BYTES else b""


def _milliseconds(entry: ApiKey) -> int | None:
    return (
        None
        if entry.expires_at is None
        else int(datetime.fromisoformat(entry.expires_at).timestamp() * 1000)
    )
