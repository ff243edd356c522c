"""The providers' API keys, as mounted: one file per provider, read again when it rotates.

Keys live in this object and in the headers of calls under way, nowhere else.
"""

import logging
from pathlib import Path
from typing import Final

MAX_KEY_BYTES: Final = 16_384

_log = logging.getLogger(__name__)


class ProviderKeys:
    """Keys by provider from the files of one folder."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keys: dict[str, str] = {}

    def reload(self, providers: frozenset[str]) -> None:
        """Read the keys of these providers; one that is missing or unusable is then not known."""
        keys: dict[str, str] = {}
        for provider in providers:
            key = self._read(provider)
            if key:
                keys[provider] = key
        self._keys = keys

    def reload_one(self, provider: str) -> bool:
        """Read one provider's key again; tell whether there is one, and another than before."""
        key = self._read(provider)
        if not key or provider not in self._keys or key == self._keys[provider]:
            return False
        self._keys[provider] = key
        return True

    def get(self, provider: str) -> str | None:
        """Return the provider's key, None where none is mounted."""
        return self._keys.get(provider)

    def _read(self, provider: str) -> str | None:
        try:
            with (self._directory / provider).open("rb") as file:
                content = file.read(MAX_KEY_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            # Out of descriptors, say: a key that cannot be read now has not been taken away.
            _log.warning("Provider key cannot be read now", extra={"provider": provider})
            return self._keys.get(provider)
        key = content.strip().decode("ascii", errors="replace")
        if len(content) > MAX_KEY_BYTES or not key.isascii() or not key.isprintable():
            # Anything else would not survive as an HTTP header, or would change it.
            _log.warning("Provider key is not usable", extra={"provider": provider})
            return None
        return key
