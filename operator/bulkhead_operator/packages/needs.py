"""What versions need and what an organization has, in the resolver's words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from semver import Version

from bulkhead_api.v1alpha1.integrations import Integration
from bulkhead_api.v1alpha1.package_dependencies import Dependency, RuntimeRequirements
from bulkhead_operator.packages.ranges import RangeError, VersionRange
from bulkhead_operator.packages.resolver import Kind, Need, Thing

BULKHEAD: Final = "bulkhead"
PYTHON: Final = "python"
REPORTED: Final[frozenset[Kind]] = frozenset({"library", "runtime"})
"""What only a runtime that runs can tell."""

_KINDS: Final[Mapping[str, Kind]] = {
    "Integration": "integration",
    "Library": "library",
    "Runtime": "runtime",
    "Package": "package",
}
_RELEASE: Final = re.compile(r"v?(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?")


def needs(
    dependencies: Sequence[Dependency], requirements: RuntimeRequirements | None = None
) -> tuple[Need, ...]:
    """Return what a version needs; raises `RangeError` naming the field that holds no range."""
    found = [
        Need(_thing(one), _range(one.version, f"spec.dependencies[{index}].version"), one.required)
        for index, one in enumerate(dependencies)
    ]
    asked = requirements or RuntimeRequirements()
    for name, text in ((PYTHON, asked.python), (BULKHEAD, asked.runtime)):
        if text is not None:
            field = "python" if name == PYTHON else "runtime"
            wanted = _range(text, f"spec.runtimeRequirements.{field}")
            found.append(Need(Thing("runtime", name), wanted))
    return tuple(found)


def _thing(dependency: Dependency) -> Thing:
    kind = _KINDS[dependency.type]
    name = dependency.name
    return Thing(kind, _distribution(name) if kind == "library" else name)


def _range(text: str, field: str) -> VersionRange:
    try:
        return VersionRange.parse(text)
    except RangeError as error:
        raise RangeError(f"`{field}`: {error}") from error


def offers(
    integrations: Iterable[Integration],
    libraries: Mapping[str, str],
    python: str,
    runtime: str,
) -> dict[Thing, list[Version]]:
    """Return what an organization has; what has no version that can be compared is left out."""
    had: dict[Thing, list[Version]] = {}
    for one in integrations:
        _add(had, Thing("integration", one.name), semantic(one.version))
    for name, text in libraries.items():
        _add(had, Thing("library", _distribution(name)), released(text))
    _add(had, Thing("runtime", PYTHON), released(python))
    _add(had, Thing("runtime", BULKHEAD), released(runtime))
    return had


def _add(had: dict[Thing, list[Version]], thing: Thing, version: Version | None) -> None:
    if version is not None:
        had.setdefault(thing, []).append(version)


def semantic(text: str) -> Version | None:
    """Return a semantic version; None for what is none."""
    try:
        return Version.parse(text)
    except ValueError:
        return None


def released(text: str) -> Version | None:
    """Return the release that a Python version names, which is not always semantic: '2024.1'."""
    match = _RELEASE.match(text)
    if match is None:
        return None
    major, minor, patch = (int(part or 0) for part in match.groups())
    return Version(major, minor, patch)


def _distribution(name: str) -> str:
    """Return a distribution's name as the packaging index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
