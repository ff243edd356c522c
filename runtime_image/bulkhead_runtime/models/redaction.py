"""Foreign words made fit to be shown: without keys, without control characters, short."""

import re
from typing import Final

MAX_QUOTED_CHARACTERS: Final = 200

_LOOKS_SECRET: Final = re.compile(
    r"(?i)\bbearer\s+\S+|\b(?:sk|pk|key|api[-_]?key|token)[-_=: ]+[\w*.-]{8,}|[\w-]{32,}"
)
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\u00a0-\uffff]+")


def redacted(words: object, key: str | None) -> str:
    """Return at most 200 characters of the words, without the key and whatever looks like one."""
    text = str(words or "")
    if key:
        text = text.replace(key, "***")
    # Before the cut, so that no half of a key stays.
    text = _UNPRINTABLE.sub(" ", _LOOKS_SECRET.sub("***", text)).strip()
    return text if len(text) <= MAX_QUOTED_CHARACTERS else f"{text[:MAX_QUOTED_CHARACTERS]}..."
