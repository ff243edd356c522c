"""The status of an AgentPackage: a pure function of what the runtimes reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulkhead_api.v1alpha1 import AgentPackage
from bulkhead_operator.errors import NotReadyYet, UserError
from bulkhead_operator.status import conditions as words
from bulkhead_operator.status import reasons
from bulkhead_operator.status.conditions import Statement, conditions


@dataclass(frozen=True, slots=True)
class PackageFound:
    """What is known of a package."""

    organization: str | None = None
    violation: UserError | None = None
    waiting: NotReadyYet | None = None
    """While the organization is not there yet."""
    serving: tuple[str, str] | None = None
    """Version and checksum that every replica gives to new sessions."""
    weights: Mapping[str, int] | None = None
    """Loaded versions with their weights; None while no runtime reported."""
    current: bool = False
    """Whether what is served is what the spec wants."""


def status(package: AgentPackage, found: PackageFound, time: str) -> dict[str, Any]:
    """Return the whole status."""
    recorded = package.status
    previous = [
        condition.model_dump(by_alias=True, exclude_none=True) for condition in recorded.conditions
    ]
    statements = _statements(package, found)
    generation = package.metadata.generation
    version, checksum = found.serving or (recorded.version, recorded.checksum)
    values = {
        "observedGeneration": generation,
        "conditions": conditions(statements, generation=generation, previous=previous, time=time),
        "organization": found.organization,
        "state": _state(found, version),
        "version": version,
        "checksum": checksum,
        "versions": _versions(package, found),
    }
    return {name: value for name, value in values.items() if value is not None}


def _versions(package: AgentPackage, found: PackageFound) -> list[dict[str, Any]]:
    if found.weights is None:
        return [one.model_dump(by_alias=True) for one in package.status.versions]
    return [
        {"version": version, "weight": weight} for version, weight in sorted(found.weights.items())
    ]


def _state(found: PackageFound, version: str | None) -> str:
    if found.violation is None and found.current:
        return "active"
    return "degraded" if version is not None else "pending"


def _statements(package: AgentPackage, found: PackageFound) -> Sequence[Statement]:
    if found.violation is not None:
        return words.stalled(found.violation.reason, found.violation.message)
    if found.waiting is not None:
        return words.reconciling(found.waiting.reason, found.waiting.message)
    if found.current:
        message = f"New sessions begin with version {package.spec.version}."
        return (Statement(words.READY, "True", reasons.IN_SERVICE, message),)
    return words.reconciling(
        reasons.CONFIGURATION_PENDING,
        f"The runtime has not reported version {package.spec.version} yet.",
    )
