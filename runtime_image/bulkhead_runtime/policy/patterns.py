"""Patterns of names, compiled once: `*` stands for any characters, `?` for one.

Most patterns are plain names or a lone `*`, which cost a set lookup and nothing. What is left is
one regular expression whose groups never give back what they matched: its time grows with the
text, whatever the pattern says.
"""

import fnmatch
import re
from collections.abc import Iterable
from typing import Final

_WILD: Final = frozenset("*?")
EVERYTHING: Final = "*"


class Patterns:
    """Tells whether a name matches any of some patterns; compares upper and lower case exactly."""

    __slots__ = ("_all", "_expression", "_names")

    def __init__(self, patterns: Iterable[str]) -> None:
        given = tuple(patterns)
        wild = [pattern for pattern in given if not _WILD.isdisjoint(pattern)]
        self._all = EVERYTHING in wild
        self._names = frozenset(given).difference(wild)
        alternatives = "|".join(_translate(pattern) for pattern in wild)
        self._expression = re.compile(alternatives) if wild and not self._all else None

    def __contains__(self, name: object) -> bool:
        """Tell whether a name matches."""
        if not isinstance(name, str):
            return False
        if self._all or name in self._names:
            return True
        return self._expression is not None and self._expression.match(name) is not None


def _translate(pattern: str) -> str:
    # fnmatch knows sets in brackets, which these patterns do not: a bracket stands for itself.
    return fnmatch.translate(pattern.replace("[", "[[]"))
