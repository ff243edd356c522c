"""The history of a package's versions: when each came, who asked for it and what came of it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.v1alpha1.package_rollout import Revision
from bulkhead_operator.errors import UserError
from bulkhead_operator.packages import asked as wishes
from bulkhead_operator.packages.record import Record
from bulkhead_operator.packages.rollout import LEAVING, UNDER_WAY, Phase, VersionId
from bulkhead_operator.reconcile.candidate import Candidate
from bulkhead_operator.reconcile.history import Recorded
from bulkhead_operator.resources.blueprint import Delivery, RevisionBlueprint
from bulkhead_operator.status import reasons

IN_PROGRESS: Final = "InProgress"
SUCCEEDED: Final = "Succeeded"
SUPERSEDED: Final = "Superseded"
SHOWN: Final = 10


def revisions(
    candidate: Candidate, record: Record | None, documents: Iterable[PackageDocument]
) -> Iterable[RevisionBlueprint]:
    """Return the revisions that keep a package's versions."""
    numbers = {one.checksum: one.number for one in candidate.history}
    highest = max(numbers.values(), default=0)
    target = record.progress.target if record is not None else None
    for document in sorted(documents, key=lambda one: numbers.get(one.checksum, highest + 1)):
        number = numbers.get(document.checksum, 0)
        is_target = target == VersionId(document.version, document.checksum)
        comes_back = is_target and record is not None and record.progress.phase not in LEAVING
        if number == 0 or (comes_back and number < highest):
            number = highest = highest + 1
        yield RevisionBlueprint(
            package=candidate.name,
            package_uid=candidate.package.metadata.uid,
            version=document.version,
            checksum=document.checksum,
            number=number,
            document=document.written(),
            delivery=_delivery(candidate, record if is_target else None, document.checksum),
        )


def _delivery(candidate: Candidate, record: Record | None, checksum: str) -> Delivery:
    known = next((one.delivery for one in candidate.history if one.checksum == checksum), None)
    if record is None:
        former = known or Delivery()
        gone = former.outcome == IN_PROGRESS
        return replace(former, outcome=SUPERSEDED) if gone else former
    at = _time(record.progress.started_at)
    begun = known if known is not None and known.at == at else None
    return Delivery(
        at=at,
        cause=begun.cause if begun else _cause(record, again=known is not None),
        by=begun.by if begun else candidate.manager,
        outcome=_outcome(record),
    )


def _cause(record: Record, *, again: bool) -> str:
    if record.instead_of is not None:
        return "Rollback"
    return "Retry" if again and record.progress.retry else "Spec"


def _outcome(record: Record) -> str:
    if record.progress.phase is Phase.COMPLETE:
        return SUCCEEDED
    if record.progress.phase in UNDER_WAY:
        return IN_PROGRESS
    failure = record.progress.failure
    return failure.reason if failure else SUPERSEDED


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(time: str) -> int:
    """Return what was written by an operator as Unix seconds; 0 for anything else."""
    try:
        return int(datetime.fromisoformat(time).timestamp())
    except ValueError:
        return 0


def retry_of(candidate: Candidate) -> str:
    """Return the request to try again that stands on the package."""
    return wishes.retry(candidate.package.metadata.annotations)


def shown(history: Sequence[Recorded], target: VersionId | None) -> tuple[Revision, ...]:
    """Return the newest revisions as status shows them, newest first."""
    return tuple(
        Revision(
            revision=one.number,
            version=one.version,
            checksum=one.checksum,
            **({"at": one.delivery.at} if one.delivery.at else {}),
            cause=one.delivery.cause or "Spec",
            by=one.delivery.by,
            outcome=_shown_outcome(one, target),
        )
        for one in history[:SHOWN]
    )


def _shown_outcome(one: Recorded, target: VersionId | None) -> str:
    outcome = one.delivery.outcome or SUPERSEDED
    is_target = target == VersionId(one.version, one.checksum)
    return SUPERSEDED if outcome == IN_PROGRESS and not is_target else outcome


def unknown_revision(candidate: Candidate, version: str) -> UserError:
    """Return the violation of a person's wish to go back to a version that is not kept."""
    kept = ", ".join(one.version for one in candidate.history[:SHOWN]) or "none"
    return UserError(
        reasons.UNKNOWN_REVISION,
        f"the annotation bulkhead.dev/rollback-to is '{version:.64}', but the versions that are "
        f"kept are {kept}: name one of them or remove the annotation.",
    )
