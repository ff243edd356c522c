"""What people are told while a rollout goes on: one sentence when something was decided."""

from typing import Literal, NamedTuple

from bulkhead_operator.packages.record import Record
from bulkhead_operator.packages.rollout import LEAVING, UNDER_WAY, Phase, Progress


class News(NamedTuple):
    """One event."""

    type: Literal["Normal", "Warning"]
    reason: str
    note: str


def news(before: Record | None, after: Record) -> News | None:
    """Return what is told of a change; None when people would learn nothing new."""
    progress = after.progress
    former = before.progress if before is not None else None
    version = progress.target.version
    begun = former is None or former.started_at != progress.started_at
    if begun and progress.phase in {Phase.LOAD, Phase.HEALTH_CHECK}:
        instead = f" in place of {progress.origin.version}" if progress.origin else ""
        return News("Normal", "RolloutStarted", f"Version {version} is rolled out{instead}.")
    if former is not None and (former.phase, former.step) == (progress.phase, progress.step):
        return None
    return _entered(progress, failed_now=former is None or former.phase in UNDER_WAY)


def _entered(progress: Progress, *, failed_now: bool) -> News | None:
    """Return what is told of the phase or step that just began."""
    version = progress.target.version
    why = f": {progress.failure.message}" if progress.failure else ""
    if progress.phase in LEAVING and failed_now:
        return News("Warning", "RollbackStarted", f"Version {version} is taken back{why}.")
    share = f"Version {version} gets {progress.weight} % of new sessions."
    serves = f"Version {progress.origin.version} serves." if progress.origin else ""
    told = {
        Phase.SHIFT: News("Normal", "RolloutProgressed", share),
        Phase.COMPLETE: News("Normal", "RolloutCompleted", share),
        Phase.RESTORED: News("Normal", "RollbackCompleted", serves or "No version serves."),
    }
    return told.get(progress.phase)
