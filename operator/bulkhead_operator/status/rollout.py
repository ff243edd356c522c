"""What the conditions of an AgentPackage say about its rollout, for people and for kstatus.

Under way reads as Reconciling, taken back as Stalled: a person must act, whatever Git says.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from bulkhead_api.v1alpha1 import AgentPackage
from bulkhead_api.v1alpha1.package_rollout import RolloutStatus
from bulkhead_operator.status import conditions as words
from bulkhead_operator.status import reasons
from bulkhead_operator.status.conditions import Statement, Status

if TYPE_CHECKING:
    from bulkhead_operator.status.package import PackageFound

RESOLVED: Final = "Resolved"
VERIFIED: Final = "Verified"
HEALTHY: Final = "Healthy"

_UNRESOLVED: Final = frozenset(
    {
        reasons.DEPENDENCY_NOT_MET,
        reasons.REQUIREMENT_NOT_MET,
        reasons.INVALID_RANGE,
        reasons.INSTALLATION_FAILED,
    }
)
_UNVERIFIED: Final = frozenset(
    {
        reasons.VERSION_CONTENT_CHANGED,
        reasons.SOURCE_INVALID,
        reasons.SOURCE_NOT_FOUND,
        reasons.CONFIGURATION_REFUSED,
    }
)
_UNHEALTHY: Final = "HealthCheckFailed"


def statements(package: AgentPackage, found: "PackageFound") -> Sequence[Statement]:
    """Return everything that is stated of a package."""
    return (*_summary(package, found), *_facts(package, found))


def _summary(package: AgentPackage, found: "PackageFound") -> Sequence[Statement]:
    rollout = found.rollout
    if rollout is not None and rollout.phase == "Restore":
        return words.reconciling(reasons.ROLLING_BACK, _taken_back(rollout))
    if found.violation is not None:
        return words.stalled(found.violation.reason, found.violation.message)
    if found.waiting is not None:
        return words.reconciling(found.waiting.reason, found.waiting.message)
    if rollout is None or not found.decided:
        version = package.spec.version
        return words.reconciling(reasons.CONFIGURATION_PENDING, f"Version {version} is seen.")
    return _of_phase(found, rollout)


def _of_phase(found: "PackageFound", rollout: RolloutStatus) -> Sequence[Statement]:
    if found.asked not in {None, rollout.target}:
        return words.reconciling(
            reasons.SUSPENDED, "`spec.suspend` holds what is asked for: set it to false to go on."
        )
    if rollout.phase == "Restored":
        return words.stalled(_reason(rollout), _restored(rollout))
    return _complete(found, rollout) if rollout.phase == "Complete" else _under_way(found, rollout)


def _complete(found: "PackageFound", rollout: RolloutStatus) -> Sequence[Statement]:
    version = rollout.target.version
    if not found.current:
        message = f"The runtime has not reported version {version} yet."
        return words.reconciling(reasons.CONFIGURATION_PENDING, message)
    message = f"New sessions begin with version {version}."
    if rollout.instead_of is not None:
        message = (
            f"New sessions begin with version {version}, to which bulkhead.dev/rollback-to goes "
            f"back from {rollout.instead_of.version} of the spec."
        )
        return (Statement(words.READY, "True", reasons.ROLLED_BACK, message),)
    return (Statement(words.READY, "True", reasons.IN_SERVICE, message),)


def _under_way(found: "PackageFound", rollout: RolloutStatus) -> Sequence[Statement]:
    version, share = rollout.target.version, f"{rollout.weight} % of new sessions"
    step = rollout.step + 1
    if rollout.failure is not None:
        return words.stalled(
            rollout.failure.reason,
            f"Version {version} is held at {share}: {rollout.failure.message}. Go back with "
            "bulkhead.dev/rollback-to, or give a corrected version.",
        )
    if found.suspended:
        message = f"`spec.suspend` holds version {version} in phase {rollout.phase}."
        return words.reconciling(reasons.SUSPENDED, message)
    if rollout.waits_for_approval:
        return words.reconciling(
            reasons.WAITING_FOR_APPROVAL,
            f"Version {version} gets {share} and waits: annotate bulkhead.dev/approve-step: {step} "
            "to let it go on.",
        )
    why = f": {found.obstacle.removesuffix('.')}" if found.obstacle else ""
    said: Mapping[str, tuple[str, str]] = {
        "Load": (reasons.LOADING, f"Version {version} is being loaded{why}."),
        "HealthCheck": (reasons.CHECKS_PENDING, f"Version {version} is being checked{why}."),
        "Shift": (reasons.SHIFTING, f"Version {version} gets {share} in step {step}."),
    }
    reason, message = said[rollout.phase]
    return words.reconciling(reason, message)


def _reason(rollout: RolloutStatus) -> str:
    return rollout.failure.reason if rollout.failure else reasons.ROLLED_BACK


def _taken_back(rollout: RolloutStatus) -> str:
    why = f": {rollout.failure.message}" if rollout.failure else ""
    return f"Version {rollout.target.version} is being taken back{why}."


def _restored(rollout: RolloutStatus) -> str:
    why = f": {rollout.failure.message.removesuffix('.')}" if rollout.failure else ""
    serves = f"Version {rollout.origin.version} serves" if rollout.origin else "No version serves"
    return (
        f"Version {rollout.target.version} was taken back{why}. {serves}. Give a corrected "
        "version, or annotate bulkhead.dev/retry to try this one again."
    )


def _facts(package: AgentPackage, found: "PackageFound") -> Sequence[Statement]:
    if not found.decided:
        return ()
    return (_resolved(found), _verified(found), _healthy(package, found))


def _failure(found: "PackageFound") -> tuple[str, str]:
    """Return reason and message of what is wrong with the version that is asked for."""
    if found.violation is not None:
        return found.violation.reason, found.violation.message
    failure = found.rollout.failure if found.rollout is not None else None
    return (failure.reason, _sentence(failure.message)) if failure is not None else ("", "")


def _sentence(text: str) -> str:
    """Return a failure's message as a condition's: rollouts put it into sentences of their own."""
    return f"{text.removesuffix('.')}."


def _resolved(found: "PackageFound") -> Statement:
    reason, message = _failure(found)
    if reason in _UNRESOLVED:
        return Statement(RESOLVED, "False", reason, message)
    if found.waiting is not None:
        return Statement(RESOLVED, "Unknown", found.waiting.reason, found.waiting.message)
    return Statement(RESOLVED, "True", reasons.RESOLVED, "Everything that is required is there.")


def _verified(found: "PackageFound") -> Statement:
    reason, message = _failure(found)
    if reason in _UNVERIFIED:
        return Statement(VERIFIED, "False", reason, message)
    if found.rollout is None or found.rollout.phase in {"Load", "Restore", "Restored"}:
        said = "No runtime has verified the content yet."
        return Statement(VERIFIED, "Unknown", reasons.CONFIGURATION_PENDING, said)
    said = "Every runtime has loaded the content that the checksum names."
    return Statement(VERIFIED, "True", reasons.VERIFIED, said)


def _healthy(package: AgentPackage, found: "PackageFound") -> Statement:
    reason, message = _failure(found)
    if reason == _UNHEALTHY:
        return Statement(HEALTHY, "False", reason, message)
    if found.waiting is not None and found.waiting.reason == reasons.IMAGE_AWAY:
        return Statement(HEALTHY, "False", found.waiting.reason, found.waiting.message)
    if not package.spec.health_checks and package.spec.image is None:
        return Statement(HEALTHY, "True", reasons.NO_CHECKS, "No health check is asked for.")
    if found.rollout is not None and found.rollout.phase in {"Shift", "Complete"}:
        said: tuple[Status, str, str] = ("True", reasons.CHECKS_PASSED, "Every check passed.")
    else:
        said = ("Unknown", reasons.CHECKS_PENDING, "The health checks have not passed yet.")
    return Statement(HEALTHY, *said)
