"""The tokens that callers must show: read from mounted files, kept as digests only.

Comparison is over digests of equal length and in constant time. A missing, empty or oversized
file lets nobody in.
"""

import hashlib
import hmac
from pathlib import Path

MAX_TOKEN_BYTES = 4096


class Token:
    """One mounted token; `reload` follows a rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest: bytes | None = None
        self.reload()

    @property
    def present(self) -> bool:
        """Tell whether there is a token to compare with."""
        return self._digest is not None

    def reload(self) -> None:
        """Read the file again."""
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_TOKEN_BYTES + 1).strip()
        except OSError:
            content = b""
        usable = 0 < len(content) <= MAX_TOKEN_BYTES
        self._digest = hashlib.sha256(content).digest() if usable else None

    def matches(self, shown: bytes) -> bool:
        """Tell whether a caller showed the token."""
        if self._digest is None:
            return False
        return hmac.compare_digest(hashlib.sha256(shown).digest(), self._digest)
