"""Ranges of versions in the grammar that users of Helm and Flux type (Masterminds/semver).

    1.2.3  =1.2.3  !=1.2.3  >1.2  >=1.2  <2  <=2.x     comparisons; a missing part is any
    ~1.2.3                                             1.2.3 and up, below 1.3
    ^1.2.3                                             1.2.3 and up, below the next breaking version
    1.2 - 1.4                                          both ends included
    >=1.2, <2  >=1.2 <2                                all of them
    ^1 || ^2                                           one of them

A pre-release is allowed only where one of the comparisons beside it names one.
"""

import re
from dataclasses import dataclass
from typing import Final

from semver import Version

MAX_CHARACTERS: Final = 256
_MAX_ALTERNATIVES: Final = 16
_MAX_COMPARISONS: Final = 16

_PART: Final = r"(?:0|[1-9][0-9]{0,9}|[xX*])"
_PARTIAL: Final = (
    rf"v?(?P<major>{_PART})(?:\.(?P<minor>{_PART}))?(?:\.(?P<patch>{_PART}))?"
    r"(?:-(?P<prerelease>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?"
)
_COMPARISON: Final = re.compile(
    rf"\s*(?P<operator>=>|=<|>=|<=|!=|~>|[=<>~^])?\s*{_PARTIAL}\s*(?:,|\s|$)\s*"
)
_HYPHEN: Final = re.compile(r"(?P<low>\S+)\s+-\s+(?P<high>\S+)")
_WILDCARDS: Final = frozenset({"x", "X", "*"})
_WITH_ANY: Final = frozenset({"=", ">=", "=>"})
"""Operators that mean something before a wildcard alone."""


class RangeError(ValueError):
    """A text is no range; the message says what is wrong and what can be written."""


@dataclass(frozen=True, slots=True)
class _Partial:
    """A version of which the last parts may be open; `known` says how many are given."""

    version: Version
    known: int

    @property
    def after(self) -> Version:
        """Return the first version beyond all that this one covers."""
        low = self.version
        if self.known == 0:
            return _HIGHEST
        return (low.bump_major, low.bump_minor, low.finalize_version().bump_patch)[self.known - 1]()

    @property
    def complete(self) -> bool:
        return self.known == _PARTS


_PARTS: Final = 3
_LOWEST: Final = Version(0, 0, 0, "0")
_HIGHEST: Final = Version(10**10, 0, 0)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Versions from `low` (included) up to `high` (excluded), or all others where negated."""

    low: Version
    high: Version
    negated: bool
    names_prerelease: bool

    def allows(self, version: Version) -> bool:
        return (self.low <= version < self.high) != self.negated


@dataclass(frozen=True, slots=True)
class VersionRange:
    """A set of versions; `text` is what was written."""

    text: str
    _alternatives: tuple[tuple[_Comparison, ...], ...]

    @classmethod
    def parse(cls, text: str) -> "VersionRange":
        """Read a range; raise `RangeError` for anything else."""
        if len(text) > MAX_CHARACTERS:
            raise RangeError(f"a range has at most {MAX_CHARACTERS} characters")
        alternatives = text.split("||")
        if len(alternatives) > _MAX_ALTERNATIVES:
            raise RangeError(f"a range has at most {_MAX_ALTERNATIVES} alternatives")
        return cls(text, tuple(_comparisons(part, text) for part in alternatives))

    def allows(self, version: Version) -> bool:
        """Tell whether the version is in the range."""
        return any(_all_allow(alternative, version) for alternative in self._alternatives)

    def __str__(self) -> str:
        return self.text


def _all_allow(alternative: tuple[_Comparison, ...], version: Version) -> bool:
    if version.prerelease and not any(one.names_prerelease for one in alternative):
        return False
    return all(comparison.allows(version) for comparison in alternative)


def _comparisons(part: str, text: str) -> tuple[_Comparison, ...]:
    hyphen = _HYPHEN.fullmatch(part.strip())
    if hyphen is not None:
        part = f">={hyphen['low']} <={hyphen['high']}"
    found: list[_Comparison] = []
    position = 0
    stripped = part.strip()
    while position < len(stripped):
        match = _COMPARISON.match(stripped, position)
        if match is None or len(found) == _MAX_COMPARISONS:
            raise _not_a_range(text)
        found.append(_comparison(match, text))
        position = match.end()
    if not found or stripped.endswith(","):
        raise _not_a_range(text)
    return tuple(found)


def _comparison(match: re.Match[str], text: str) -> _Comparison:
    partial = _partial(match)
    operator = match["operator"] or "="
    if partial.known == 0 and operator not in _WITH_ANY:
        raise _not_a_range(text)
    low, high = _bounds(operator, partial)
    prerelease = partial.version.prerelease is not None
    return _Comparison(low, high, operator == "!=", names_prerelease=prerelease)


def _bounds(operator: str, partial: _Partial) -> tuple[Version, Version]:
    version, above = partial.version, _just_after(partial)
    bounds = {
        ">": (above, _HIGHEST),
        ">=": (version, _HIGHEST),
        "=>": (version, _HIGHEST),
        "<": (_LOWEST, version),
        "<=": (_LOWEST, above),
        "=<": (_LOWEST, above),
    }
    if operator in {"~", "~>"}:
        return version, _before(_Partial(version, min(partial.known, 2)).after)
    if operator == "^":
        return version, _before(_next_breaking(partial))
    return bounds.get(operator, (version, above))


def _just_after(partial: _Partial) -> Version:
    """Return the first version above all that are equal to a partial one."""
    version = partial.version
    if partial.complete and version.prerelease:
        return version.replace(prerelease=f"{version.prerelease}.0")
    if partial.complete:
        return _before(version.bump_patch())
    return _before(partial.after)


def _before(version: Version) -> Version:
    """Return the first pre-release of a version, so that none of them is below it."""
    return version.replace(prerelease="0")


def _next_breaking(partial: _Partial) -> Version:
    """Return the first version that may break what a caret covers: the leftmost part not zero."""
    version = partial.version
    if version.major or partial.known <= 1:
        return _Partial(version, min(partial.known, 1)).after
    if version.minor or partial.known == _PARTS - 1:
        return _Partial(version, 2).after
    return version.finalize_version().bump_patch()


def _partial(match: re.Match[str]) -> _Partial:
    parts: list[int] = []
    for name in ("major", "minor", "patch"):
        if match[name] is None or match[name] in _WILDCARDS:
            break
        parts.append(int(match[name]))
    known = len(parts)
    complete = known == _PARTS
    major, minor, patch = (*parts, 0, 0, 0)[:_PARTS]
    prerelease = match["prerelease"] if complete else None
    return _Partial(Version(major, minor, patch, prerelease), known)


def _not_a_range(text: str) -> RangeError:
    return RangeError(
        f"'{text[:64]}' is no range of versions: write for example '^1.4', '>=1.2 <2', '~1.2.3', "
        "'1.x' or '1.4.2'"
    )
