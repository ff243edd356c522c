"""The status of an AgentPackage: a pure function of what was decided and the runtimes reported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bulkhead_api.v1alpha1 import AgentPackage
from bulkhead_api.v1alpha1.package_rollout import (
    CheckSummary,
    Revision,
    RolloutStatus,
    VersionIdentity,
    Waiting,
)
from bulkhead_operator.errors import NotReadyYet, UserError
from bulkhead_operator.status.conditions import conditions
from bulkhead_operator.status.rollout import statements


@dataclass(frozen=True, slots=True)
class PackageFound:
    """What is known of a package."""

    organization: str | None = None
    violation: UserError | None = None
    waiting: NotReadyYet | None = None
    """While the organization, or something that the version needs, is not there yet."""
    rollout: RolloutStatus | None = None
    """Where the rollout stands; None when nothing was decided yet."""
    decided: bool = False
    """Whether what is known is about the present generation."""
    asked: VersionIdentity | None = None
    suspended: bool = False
    serving: tuple[str, str] | None = None
    """Version and checksum that every replica gives to most new sessions."""
    weights: Mapping[str, int] | None = None
    """Loaded versions with their weights; None while no runtime reported."""
    checks: tuple[CheckSummary, ...] = ()
    unmet: tuple[str, ...] = ()
    history: tuple[Revision, ...] = ()
    absent: Waiting | None = None
    """The version that waits for a package that does not exist."""
    obstacle: str = ""
    """What keeps the version that takes over from being loaded."""

    @property
    def current(self) -> bool:
        """Tell whether what is served is what is asked for."""
        return bool(
            self.decided
            and self.violation is None
            and self.waiting is None
            and self.rollout is not None
            and self.rollout.phase == "Complete"
            and self.rollout.target == self.asked
            and self.serving == (self.rollout.target.version, self.rollout.target.checksum)
        )


def status(package: AgentPackage, found: PackageFound, time: str) -> dict[str, Any]:
    """Return the whole status."""
    recorded = package.status
    previous = [
        condition.model_dump(by_alias=True, exclude_none=True) for condition in recorded.conditions
    ]
    generation = package.metadata.generation
    version, checksum = found.serving or (recorded.version, recorded.checksum)
    stated = statements(package, found)
    rollout = found.rollout or recorded.rollout
    values = {
        "observedGeneration": generation,
        "conditions": conditions(stated, generation=generation, previous=previous, time=time),
        "organization": found.organization,
        "state": _state(found, version),
        "version": version,
        "checksum": checksum,
        "versions": _versions(package, found),
        "rollout": rollout and _dumped(rollout),
        "waiting": found.absent and _dumped(found.absent),
        "checks": [_dumped(one) for one in _checks(package, found)],
        "unmetOptional": list(found.unmet),
        "history": [_dumped(one) for one in found.history or recorded.history],
    }
    return {name: value for name, value in values.items() if value is not None}


def _dumped(model: RolloutStatus | CheckSummary | Revision | Waiting) -> dict[str, Any]:
    return model.model_dump(by_alias=True, exclude_none=True, mode="json")


def _checks(package: AgentPackage, found: PackageFound) -> tuple[CheckSummary, ...]:
    """Return what was said last about the version that takes over or serves."""
    recorded, now = package.status.rollout, found.rollout
    if found.checks or now is None or recorded is None:
        return found.checks
    return package.status.checks if recorded.started_at == now.started_at else ()


def _versions(package: AgentPackage, found: PackageFound) -> list[dict[str, Any]]:
    if found.weights is None:
        return [one.model_dump(by_alias=True) for one in package.status.versions]
    return [
        {"version": version, "weight": weight} for version, weight in sorted(found.weights.items())
    ]


def _state(found: PackageFound, version: str | None) -> str:
    if found.current:
        return "active"
    return "degraded" if version is not None else "pending"
