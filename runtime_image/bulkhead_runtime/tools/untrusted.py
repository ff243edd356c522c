"""Signs of an attempt to give an agent other orders, in users' text and in what tools bring.

Heuristics: they find the common and miss the clever, so they flag and never protect. What
protects is that orders in such text have no power: policy decides about every call.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

MAX_CHARACTERS: Final = 65_536
"""What is searched of one text, its beginning."""


@dataclass(frozen=True, slots=True)
class _Sign:
    """A pattern, and groups of words of which a text must hold one each before it is searched.

    Looking for words is a hundred times cheaper than looking for the pattern.
    """

    pattern: re.Pattern[str]
    needs: tuple[tuple[str, ...], ...]

    def shown_by(self, text: str) -> bool:
        for group in self.needs:
            if not any(map(text.__contains__, group)):
                return False
        return self.pattern.search(text) is not None


_SIGNS: Final = {
    "override": _Sign(
        re.compile(
            r"\b(ignore|disregard|forget|override)\b[^.\n]{0,40}\b(previous|prior|above|earlier|"
            r"all|your|system)\b[^.\n]{0,20}\b(instruction|prompt|rule|message|guideline)s?\b"
        ),
        (
            ("ignore", "disregard", "forget", "override"),
            ("instruction", "prompt", "rule", "message", "guideline"),
        ),
    ),
    "role": _Sign(
        re.compile(
            r"\byou are (now|no longer)\b|\bnew (system )?instructions?\s*:|"
            r"\bact as (the )?(system|administrator|developer)\b"
        ),
        (("you are no", "new instruction", "new system instruction", "act as "),),
    ),
    "prompt_leak": _Sign(
        re.compile(
            r"\b(reveal|print|show|repeat|output)\b[^.\n]{0,30}\b(system prompt|"
            r"your instructions|initial prompt|hidden prompt)\b"
        ),
        (("system prompt", "your instructions", "initial prompt", "hidden prompt"),),
    ),
    "chat_markup": _Sign(
        re.compile(
            r"<\|(im_start|im_end|system|endoftext)\|>|\[/?inst\]|<</?sys>>|\n\s{0,20}system\s*:"
        ),
        (("<|", "inst]", "sys>>", "system"),),
    ),
    "exfiltration": _Sign(
        re.compile(
            r"\b(send|post|upload|forward|exfiltrate)\b[^.\n]{0,60}\b(api[ _-]?key|password|"
            r"credential|secret|token)s?\b|"
            r"!\[[^\]\n]{0,100}\]\(https?://[^)\s]{0,200}[?&][^)\s]{0,80}="
        ),
        (("api", "password", "credential", "secret", "token", "](http"),),
    ),
    "hidden_text": _Sign(
        re.compile("[\u200b\u200c\u2060\u2062-\u2064\U000e0000-\U000e007f]{4,}|[\u202a-\u202e]"),
        (),
    ),
}
_ASCII_SIGNS: Final = {name: sign for name, sign in _SIGNS.items() if name != "hidden_text"}


def flags(text: str) -> tuple[str, ...]:
    """Return the names of the signs that a text shows, in the order of this module."""
    searched = text[:MAX_CHARACTERS].lower()
    signs = _ASCII_SIGNS if searched.isascii() else _SIGNS
    return tuple(name for name, sign in signs.items() if sign.shown_by(searched))


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
