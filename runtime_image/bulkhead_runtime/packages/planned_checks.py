"""Which checks a version has: its own, and those of its optional dependencies.

Checks of what is required stand among the version's own when it arrives.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bulkhead_api.v1alpha1.package_health import HttpCheck, PromptCheck, ToolCheck
from bulkhead_runtime.config.snapshot import Version

DEPENDENCY_TIMEOUT_SECONDS: Final = 10
DEPENDENCY_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """The image of the version says that it can work."""


Check = HttpCheck | ToolCheck | PromptCheck | ImageCheck


@dataclass(frozen=True, slots=True)
class PlannedCheck:
    """One thing that must hold; without `required` it is only told."""

    name: str
    kind: Check
    timeout_seconds: int = DEPENDENCY_TIMEOUT_SECONDS
    attempts: int = DEPENDENCY_ATTEMPTS
    required: bool = True


def checks_of(version: Version) -> tuple[PlannedCheck, ...]:
    """Return every check of a version, those of optional dependencies first."""
    return (*_of_dependencies(version), *_of_image(version), *_own(version))


def _of_image(version: Version) -> Iterator[PlannedCheck]:
    if version.image is not None:
        yield PlannedCheck("image", ImageCheck())


def _of_dependencies(version: Version) -> Iterator[PlannedCheck]:
    for dependency in version.dependencies:
        check = dependency.health_check
        kind = (check.http or check.tool) if check is not None else None
        if kind is not None and not dependency.required:
            name = f"{dependency.type.lower()}/{dependency.name}"
            yield PlannedCheck(name, kind, required=False)


def _own(version: Version) -> Iterator[PlannedCheck]:
    for check in version.health_checks:
        kind = check.http or check.tool or check.prompt
        if kind is not None:
            yield PlannedCheck(check.name, kind, check.timeout_seconds, check.attempts)
