"""Signs of an attempt to give an agent other orders, in users' text and in what tools bring.

Heuristics: they find the common and miss the clever, so they flag and never protect. What
protects is that orders in such text have no power: policy decides about every call.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

MAX_CHARACTERS: Final = 65_536
"""What is searched of one text, its beginning."""

_SIGNS: Final = {
    "override": (
        r"\b(ignore|disregard|forget|override)\b[^.\n]{0,40}\b(previous|prior|above|earlier|all|"
        r"your|system)\b[^.\n]{0,20}\b(instructions?|prompts?|rules?|messages?|guidelines?)"
    ),
    "role": (
        r"\byou are (now|no longer)\b|\bnew (system )?instructions?\s*:|\bact as (the )?"
        r"(system|administrator|developer)\b"
    ),
    "prompt_leak": (
        r"\b(reveal|print|show|repeat|output)\b[^.\n]{0,30}\b(system prompt|your instructions|"
        r"initial prompt|hidden prompt)"
    ),
    "chat_markup": r"<\|(im_start|im_end|system|endoftext)\|>|\[/?INST\]|<</?SYS>>|\n\s*system\s*:",
    "exfiltration": (
        r"\b(send|post|upload|forward|exfiltrate)\b[^.\n]{0,60}\b(api[ _-]?keys?|passwords?|"
        r"credentials?|secrets?|tokens?)\b|!\[[^\]\n]{0,100}\]\(https?://[^)\s]{0,200}[?&][^)\s]{0,80}="
    ),
    "hidden_text": r"[\u200b\u200c\u2060\u2062-\u2064\U000e0000-\U000e007f]{4,}|[\u202a-\u202e]",
}
_PATTERNS: Final = {name: re.compile(sign, re.IGNORECASE) for name, sign in _SIGNS.items()}


def flags(text: str) -> tuple[str, ...]:
    """Return the names of the signs that a text shows, in the order of this module."""
    searched = text[:MAX_CHARACTERS]
    return tuple(name for name, pattern in _PATTERNS.items() if pattern.search(searched))


def flags_in(value: Any) -> tuple[str, ...]:
    """Return the signs that the texts of a JSON value show."""
    return flags("\n".join(_texts(value)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
