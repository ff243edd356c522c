"""What a version waits for besides itself: packages that may still come, and those it goes with."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from bulkhead_operator.errors import UserError
from bulkhead_operator.packages.decision import is_ready
from bulkhead_operator.packages.reports import Reports
from bulkhead_operator.packages.resolution import Judgement
from bulkhead_operator.reconcile.candidate import Candidate
from bulkhead_operator.status import reasons


def absent_since(candidate: Candidate, judgement: Judgement, now: int) -> int | None:
    """Return since when the version waits for a package that does not exist.

    What is under way already does not wait: what it needs was there, and is gone.
    """
    if not judgement.absent or candidate.asked is None or candidate.is_under_way:
        return None
    target, known = candidate.asked.target, candidate.package.status.waiting
    same = known is not None and (known.version, known.checksum) == (
        target.version,
        target.checksum,
    )
    return known.since if known is not None and same else now


def absent_until(candidate: Candidate, judgement: Judgement, now: int) -> int | None:
    """Return until when a package that does not exist may still come; None when that is over."""
    since = absent_since(candidate, judgement, now)
    if since is None:
        return None
    until = since + candidate.package.spec.rollout.progress_deadline_seconds
    return until if now < until else None


def partners(
    candidates: Sequence[Candidate], judgements: Mapping[str, Judgement], reports: Reports
) -> Mapping[str, str]:
    """Return what is not ready yet of those that a package can only take over together with."""
    bound = {name: one.together for name, one in judgements.items() if one.together}
    if not bound:
        return {}
    unready = {one.name: one for one in candidates if not _is_ready(one, reports)}
    return {
        name: f"it takes over at once with package {other}, which is not ready yet"
        for name, others in bound.items()
        for other in sorted(others & unready.keys())[:1]
    }


def _is_ready(candidate: Candidate, reports: Reports) -> bool:
    record, asked = candidate.record, candidate.asked
    if record is None or asked is None or record.progress.target != asked.target:
        return False
    return is_ready(candidate.name, record.progress, candidate.target, reports)


def stepping(candidates: Sequence[Candidate]) -> AbstractSet[str]:
    """Return the packages that take over step by step."""
    return {one.name for one in candidates if one.package.spec.rollout.strategy != "AllAtOnce"}


def steps_apart(
    candidate: Candidate, judgement: Judgement, steps: AbstractSet[str]
) -> UserError | None:
    """Refuse all that take over at once when one of them would go by steps."""
    apart = sorted({candidate.name, *judgement.together} & steps)
    if not apart:
        return None
    others = ", ".join(sorted(judgement.together))
    return UserError(
        reasons.DEPENDENCY_NOT_MET,
        f"`spec.rollout.strategy` of '{apart[0]}' goes by steps, but the new versions of "
        f"'{candidate.name}' and {others} can only take over at once: take 'AllAtOnce' for all of "
        "them, or a version in between that works with old and new.",
    )
