"""A rollout as a pure state machine: what was, what is wanted and what is seen -> what comes next.

    Load -> HealthCheck -> Shift (steps) -> Complete
    any of the first three -> Restore -> Restored

Nothing here knows Kubernetes, clocks or runtimes. `Progress` is all that must survive: it is
written to status before anything follows from it, so an operator that dies at any moment goes on
from the last step that was decided. The version in service keeps every session that is not given
away; a version that fails loses its share at once and is remembered until something new is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

FULL_WEIGHT: Final = 100


class Phase(StrEnum):
    """Where a rollout stands."""

    LOAD = "Load"
    HEALTH_CHECK = "HealthCheck"
    SHIFT = "Shift"
    COMPLETE = "Complete"
    RESTORE = "Restore"
    RESTORED = "Restored"


class Verdict(StrEnum):
    """What a check or an analysis says."""

    PENDING = "Pending"
    PASSED = "Passed"
    FAILED = "Failed"


UNDER_WAY: Final = frozenset({Phase.LOAD, Phase.HEALTH_CHECK, Phase.SHIFT})
LEAVING: Final = frozenset({Phase.RESTORE, Phase.RESTORED})


@dataclass(frozen=True, slots=True)
class VersionId:
    """A version of a package: its name and the checksum of its content."""

    version: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Step:
    """A share of new sessions, held for `pause_seconds`, or until a person lets it go on (None)."""

    weight: int
    pause_seconds: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """How a version takes over; no steps means all at once."""

    steps: tuple[Step, ...]
    progress_deadline_seconds: int
    automatic_rollback: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a version was taken back, in a stable word and in a sentence."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What survives a restart; times are Unix seconds.

    `started_at` is when the target was asked for, `since` when the present phase or step began,
    or when its pause was lifted by a person (`approved`, counted from 1); `weight` is the target's
    share of new sessions, `retry` the last request to try again that was followed.
    """

    target: VersionId
    origin: VersionId | None
    phase: Phase
    since: int
    step: int = 0
    weight: int = 0
    approved: int = 0
    failure: Failure | None = None
    retry: str = ""
    suspended_at: int | None = None
    started_at: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: by the spec, or by a person who goes back to a kept version.

    `retry` changes when a person asks to try a failed version again; `approved_step` is the number
    of the step, from 1, up to which pauses without end are lifted.
    """

    target: VersionId
    plan: Plan
    retry: str = ""
    approved_step: int = 0
    suspended: bool = False
    going_back: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What is seen of the target (`loaded`, `health`, `analysis`, `broken`) and of the origin.

    `broken` is set by whatever cannot wait for a check: a refused document, a crash loop, a
    dependency that is not there any more. `obstacle` is what a replica still struggles with.
    """

    now: int
    loaded: bool = False
    health: Verdict = Verdict.PENDING
    analysis: Verdict = Verdict.PENDING
    broken: Failure | None = None
    failure: Failure | None = None
    obstacle: str = ""
    origin_loaded: bool = True
    origin_health: Verdict = Verdict.PENDING


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes next: what to remember, who gets new sessions, when to look again at the latest.

    `waits_for_approval` is True where only a person lets the rollout go on.
    """

    progress: Progress
    wake_at: int | None = None
    waits_for_approval: bool = False


def weights(progress: Progress) -> Mapping[VersionId, int]:
    """Return the shares of new sessions; they add up to 100, or to 0 before the first version.

    A version that is taken back is not among them.
    """
    shares = {} if progress.phase in LEAVING else {progress.target: progress.weight}
    if progress.origin is not None and progress.origin != progress.target:
        shares[progress.origin] = FULL_WEIGHT - progress.weight
    return shares


def advance(progress: Progress | None, wanted: Wanted, seen: Seen) -> Decision:
    """Return what comes next: at most one change of shares, by what was seen since `since`."""
    current = _begin(progress, wanted, seen) if is_new(progress, wanted) else progress
    assert current is not None
    if current.phase in LEAVING:
        return _restore(current, seen)
    if current.phase is Phase.COMPLETE:
        return Decision(current)
    failure = seen.broken or seen.failure
    if failure is not None:
        return _fail(current, wanted, seen, failure)
    if wanted.suspended:
        return Decision(_suspend(current, seen))
    return _go_on(replace(_resume(current, seen), failure=None), wanted, seen)


def is_new(progress: Progress | None, wanted: Wanted) -> bool:
    """Tell whether something is asked for that the present rollout is not about."""
    if progress is None or progress.target != wanted.target:
        return not (wanted.suspended and progress is not None)
    return progress.phase is Phase.RESTORED and wanted.retry != progress.retry


def _begin(progress: Progress | None, wanted: Wanted, seen: Seen) -> Progress:
    """Begin a rollout from what serves now; back to what serves now there is nothing to roll."""
    origin = _serving(progress)
    # Never twice the same, because checks are asked for once per beginning.
    started_at = max(seen.now, progress.started_at + 1 if progress is not None else 0)
    if origin == wanted.target:
        return Progress(
            wanted.target,
            None,
            Phase.COMPLETE,
            seen.now,
            weight=FULL_WEIGHT,
            retry=wanted.retry,
            started_at=started_at,
        )
    return Progress(
        wanted.target, origin, Phase.LOAD, seen.now, retry=wanted.retry, started_at=started_at
    )


def _serving(progress: Progress | None) -> VersionId | None:
    if progress is None:
        return None
    return progress.target if progress.phase is Phase.COMPLETE else progress.origin


def _go_on(progress: Progress, wanted: Wanted, seen: Seen) -> Decision:
    if progress.phase is Phase.LOAD and seen.loaded:
        progress = replace(progress, phase=Phase.HEALTH_CHECK, since=seen.now)
    healthy = seen.loaded and seen.health is Verdict.PASSED
    if progress.phase is Phase.HEALTH_CHECK and healthy:
        return _enter_step(progress, wanted, seen, 0)
    if progress.phase is Phase.SHIFT:
        return _shift(progress, wanted, seen)
    return _within_deadline(progress, wanted, seen, progress.since)


def _shift(progress: Progress, wanted: Wanted, seen: Seen) -> Decision:
    """Hold the present step for its pause and until its analysis passes; then take the next."""
    steps = wanted.plan.steps
    if progress.step >= len(steps):
        return _enter_step(progress, wanted, seen, progress.step)
    pause = steps[progress.step].pause_seconds
    if pause is None and progress.approved <= progress.step:
        if wanted.approved_step <= progress.step:
            return Decision(progress, waits_for_approval=True)
        # What is late counts from here: a person may take days.
        progress = replace(progress, approved=wanted.approved_step, since=seen.now)
    held_until = progress.since + (pause or 0)
    if seen.now < held_until:
        return Decision(progress, wake_at=held_until)
    if seen.analysis is Verdict.PASSED:
        return _enter_step(progress, wanted, seen, progress.step + 1)
    return _within_deadline(progress, wanted, seen, held_until)


def _enter_step(progress: Progress, wanted: Wanted, seen: Seen, step: int) -> Decision:
    """Give the target the share of a step; after the last one, and without any, everything."""
    steps = () if progress.origin is None or wanted.going_back else wanted.plan.steps
    if step >= len(steps):
        return Decision(
            replace(
                progress,
                phase=Phase.COMPLETE,
                since=seen.now,
                step=0,
                weight=FULL_WEIGHT,
                origin=None,
            )
        )
    entered = replace(
        progress, phase=Phase.SHIFT, since=seen.now, step=step, weight=steps[step].weight
    )
    pause = steps[step].pause_seconds
    waits = pause is None and wanted.approved_step <= step
    wake_at = None if waits else seen.now + (pause or 0)
    return Decision(entered, wake_at=wake_at, waits_for_approval=waits)


def _within_deadline(progress: Progress, wanted: Wanted, seen: Seen, since: int) -> Decision:
    late_at = since + wanted.plan.progress_deadline_seconds
    if seen.now < late_at:
        return Decision(progress, wake_at=late_at)
    why = f": {seen.obstacle}" if seen.obstacle and progress.phase is Phase.LOAD else ""
    missed = Failure(
        "ProgressDeadlineExceeded",
        f"phase {progress.phase} did not end within "
        f"{wanted.plan.progress_deadline_seconds} seconds{why}",
    )
    return _fail(progress, wanted, seen, missed)


def _fail(progress: Progress, wanted: Wanted, seen: Seen, failure: Failure) -> Decision:
    """Take the target's share away; without automatic rollback hold the step for a person."""
    if progress.phase is Phase.SHIFT and not wanted.plan.automatic_rollback:
        return Decision(replace(progress, failure=failure), waits_for_approval=True)
    left = replace(progress, phase=Phase.RESTORE, since=seen.now, step=0, weight=0, failure=failure)
    return _restore(left, seen)


def _restore(progress: Progress, seen: Seen) -> Decision:
    """Wait until the origin serves alone and has shown that it is healthy."""
    if progress.phase is Phase.RESTORED:
        return Decision(progress)
    validated = progress.origin is None or (
        seen.origin_loaded and seen.origin_health is not Verdict.PENDING
    )
    if not validated:
        return Decision(progress)
    return Decision(replace(progress, phase=Phase.RESTORED, since=seen.now))


def _suspend(progress: Progress, seen: Seen) -> Progress:
    return progress if progress.suspended_at else replace(progress, suspended_at=seen.now)


def _resume(progress: Progress, seen: Seen) -> Progress:
    """Let pauses and deadlines go on where they stood when the rollout was suspended."""
    if progress.suspended_at is None:
        return progress
    asleep = seen.now - progress.suspended_at
    return replace(progress, since=progress.since + asleep, suspended_at=None)
