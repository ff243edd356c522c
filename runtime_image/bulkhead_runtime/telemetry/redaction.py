"""Takes the values of mounted secrets out of whatever is about to be written down.

Nothing writes a secret on purpose; this is for the provider that echoes a key in its error and for
the driver that puts a password into its exception. Values are found by folder, so a Secret that a
later release mounts is covered without anybody thinking of it.
"""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

REDACTED: Final = "[redacted]"
MIN_CHARACTERS: Final = 8
"""Shorter values would take ordinary words out of every line."""

_MAX_FILE_BYTES: Final = 64 * 1024
_MAX_VALUES: Final = 512
_FEW_VALUES: Final = 24


class SecretValues:
    """The values that must not be shown; replaced as a whole when their folder changes."""

    def __init__(self) -> None:
        self._spelled: tuple[str, ...] = ()
        self._pattern: re.Pattern[str] | None = None

    def load(self, directory: Path) -> None:
        """Read every mounted secret below `directory`; a file that goes meanwhile is left out."""
        values: set[str] = set()
        for path in sorted(directory.rglob("*")):
            if len(values) >= _MAX_VALUES:
                break
            values.update(_values(path))
        self.replace(values)

    def replace(self, values: set[str]) -> None:
        """Know these values and no others."""
        spelled = {spelling for value in values for spelling in _spellings(value)}
        self._spelled = tuple(sorted(spelled, key=len, reverse=True))
        self._pattern = (
            re.compile("|".join(map(re.escape, self._spelled))) if self._spelled else None
        )

    def redact(self, text: str) -> str:
        """Return `text` without any known value."""
        if self._pattern is None or not self._may_show(text):
            return text
        return self._pattern.sub(REDACTED, text)

    def _may_show(self, text: str) -> bool:
        """Tell whether the text is worth the pattern, which takes ten times as long as one value.

        Almost no text shows any; of many values the pattern alone is quicker.
        """
        if len(self._spelled) > _FEW_VALUES:
            return True
        return any(value in text for value in self._spelled)


SECRET_VALUES: Final = SecretValues()
"""The process's own; logging has no other way to be handed it."""


def _values(path: Path) -> Iterator[str]:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
            return
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        logging.getLogger(__name__).debug("Secret not read", extra={"reason": type(error).__name__})
        return
    if path.suffix == ".pem" and "PRIVATE" not in text:
        return
    for line in (text, *text.splitlines()):
        yield from _secret_parts(line.strip())


def _secret_parts(line: str) -> Iterator[str]:
    """Yield the line, and where it is an address or a header, the secret inside it."""
    if len(line) >= MIN_CHARACTERS:
        yield line
    for separator in "=:":
        value = line.partition(separator)[2].strip()
        if len(value) >= MIN_CHARACTERS and not value.startswith("//"):
            yield value
    try:
        parts = urlsplit(line)
        # The public key of a Sentry DSN stands where others have a user's name.
        named = parts.username if parts.scheme in {"http", "https"} else None
        secrets = (parts.password, named)
    except ValueError:
        return
    for secret in secrets:
        if secret and len(secret) >= MIN_CHARACTERS:
            yield secret
            yield unquote(secret)


def _spellings(value: str) -> Iterator[str]:
    yield value
    yield json.dumps(value)[1:-1]
    yield quote(value, safe="")
