"""What of a rollout is written to status, and read from there after a restart."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from bulkhead_api.v1alpha1.package_rollout import (
    ProcessCount,
    RolloutFailure,
    RolloutStatus,
    VersionIdentity,
)
from bulkhead_operator.packages.analysis import Counts, Measured
from bulkhead_operator.packages.rollout import Failure, Phase, Progress, VersionId

_LONGEST_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class Record:
    """A rollout's progress, the person's rollback that it obeys, and what its step began with."""

    progress: Progress
    rollback_to: str = ""
    instead_of: VersionId | None = None
    baseline: Counts = field(default_factory=dict)
    waits_for_approval: bool = False


def read(status: RolloutStatus | None) -> Record | None:
    """Return what a status says; None before the first rollout."""
    if status is None:
        return None
    target, origin = _version(status.target), _version(status.origin)
    assert target is not None
    failure = status.failure
    progress = Progress(
        target=target,
        origin=origin,
        phase=Phase(status.phase),
        since=status.since,
        step=status.step,
        weight=status.weight,
        approved=status.approved,
        failure=Failure(failure.reason, failure.message) if failure else None,
        retry=status.retry,
        suspended_at=status.suspended_at,
        started_at=status.started_at,
    )
    return Record(
        progress,
        status.rollback_to,
        _version(status.instead_of),
        {one.process: _measured(one) for one in status.baseline},
        status.waits_for_approval,
    )


def written(record: Record) -> RolloutStatus:
    """Return the record as status holds it."""
    progress = record.progress
    target = identity(progress.target)
    assert target is not None
    return RolloutStatus(
        phase=progress.phase.value,
        target=target,
        origin=identity(progress.origin),
        started_at=progress.started_at,
        since=progress.since,
        step=progress.step,
        weight=progress.weight,
        approved=progress.approved,
        waits_for_approval=record.waits_for_approval,
        failure=_failure(progress.failure),
        retry=progress.retry,
        suspended_at=progress.suspended_at,
        rollback_to=record.rollback_to,
        instead_of=identity(record.instead_of),
        baseline=_baseline(record.baseline),
    )


def _failure(failure: Failure | None) -> RolloutFailure | None:
    if failure is None:
        return None
    return RolloutFailure(reason=failure.reason, message=failure.message[:_LONGEST_MESSAGE])


def _version(identity: VersionIdentity | None) -> VersionId | None:
    return None if identity is None else VersionId(identity.version, identity.checksum)


def identity(version: VersionId | None) -> VersionIdentity | None:
    """Return a version as status names it."""
    if version is None:
        return None
    return VersionIdentity(version=version.version, checksum=version.checksum)


def _measured(count: ProcessCount) -> Measured:
    return Measured(
        executions=count.executions,
        failures=count.failures,
        slow=count.slow,
        cost=Decimal(count.cost),
        tool_calls=count.tool_calls,
        tool_denials=count.tool_denials,
        crashes=count.crashes,
    )


def _baseline(counts: Mapping[str, Measured]) -> tuple[ProcessCount, ...]:
    return tuple(
        ProcessCount(
            process=process,
            executions=one.executions,
            failures=one.failures,
            slow=one.slow,
            cost=str(one.cost),
            tool_calls=one.tool_calls,
            tool_denials=one.tool_denials,
            crashes=one.crashes,
        )
        for process, one in sorted(counts.items())
    )
