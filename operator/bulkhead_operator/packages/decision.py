"""Takes one package one step further: from what is recorded, asked and reported to what is next."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.v1alpha1.package_rollout import Analysis, Rollout
from bulkhead_operator.packages import asked as wishes
from bulkhead_operator.packages.analysis import Counts, judge, since
from bulkhead_operator.packages.asked import Asked
from bulkhead_operator.packages.record import Record
from bulkhead_operator.packages.reports import Reports
from bulkhead_operator.packages.rollout import (
    UNDER_WAY,
    Failure,
    Phase,
    Progress,
    Seen,
    Verdict,
    VersionId,
    Wanted,
    advance,
    is_new,
    weights,
)

CHECK_SECONDS: Final = 1
"""How soon replicas are asked again for the outcome of health checks; the answer itself waits."""

ANALYSIS_SECONDS: Final = 5
PODS_SECONDS: Final = 3
"""How soon pods are looked at again that are not ready: a crash does not ring."""

CRASHES: Final = 2
"""Executions of a version that may end their process: one may be chance, two are the version."""

_WATCHED: Final = frozenset({Phase.LOAD, Phase.HEALTH_CHECK, Phase.RESTORE})


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of one package now."""

    package: str
    rollout: Rollout
    annotations: Mapping[str, str]
    asked: Asked
    record: Record | None
    reports: Reports
    documents: Mapping[str, PackageDocument]
    """Versions that may be loaded, by checksum."""
    now: int
    held: bool = False
    """Whether nothing may begin or go on: suspended, or no replica could answer."""
    broken: Failure | None = None
    """What cannot wait for a check: a refused document, a crash loop, a need that is not met."""
    unready: Mapping[str, str] = field(default_factory=dict)
    """Versions whose own pods are not ready, by checksum, and what they wait for."""
    ringing: AbstractSet[str] = frozenset()
    """Those of them of which it is told when they are."""
    partner: str = ""
    """What is not ready yet, and can only take over together with this one."""
    alone: bool = False
    """Whether one replica is all there is."""


@dataclass(frozen=True, slots=True)
class Next:
    """The record to keep, when to look again at the latest, and what to ask replicas for."""

    record: Record
    shares: Mapping[VersionId, int]
    """Of new sessions, in percent, as soon as a runtime follows them."""
    wake_at: int | None = None
    watched: bool = False
    measured: bool = False
    begins: bool = False
    """Whether a rollout begins, for which no answer counts that came before."""


def decide(situation: Situation) -> Next:
    """Return what comes next; nothing is written yet."""
    record = situation.record
    wanted = Wanted(
        target=situation.asked.target,
        plan=wishes.plan(situation.rollout),
        retry=wishes.retry(situation.annotations),
        approved_step=wishes.approved_step(situation.annotations),
        suspended=situation.held,
        going_back=situation.asked.going_back,
    )
    before = record.progress if record else None
    # What was seen up to now was seen of another version, or of another try.
    begins = is_new(before, wanted)
    seen = Seen(situation.now) if begins else _seen(situation, record)
    decision = advance(before, wanted, seen)
    progress = decision.progress
    entered = record is None or _place(record.progress) != _place(progress)
    judged = _is_judged(progress, situation.rollout.analysis)
    kept = situation.asked.noted(
        Record(
            progress,
            baseline=_counts(situation, progress.target)
            if judged and entered
            else (record.baseline if record and judged else {}),
            waits_for_approval=decision.waits_for_approval,
        )
    )
    return Next(
        kept,
        _shares(situation, wanted, progress),
        _wake_at(situation, decision.wake_at, progress, judged),
        watched=progress.phase in _WATCHED or judged,
        # Before the first step too: what was counted until then is the step's baseline.
        measured=progress.phase in UNDER_WAY and situation.rollout.analysis != Analysis(),
        begins=begins and progress.phase in UNDER_WAY,
    )


def _shares(situation: Situation, wanted: Wanted, progress: Progress) -> Mapping[VersionId, int]:
    """Return the shares to configure: those of the target already where it only has to be loaded.

    A runtime follows shares when it has every version that they name. A second replica may have it
    later, and would answer the next message of a session by the former version.
    """
    document = situation.documents.get(progress.target.checksum)
    if progress.phase is Phase.LOAD and situation.alone and _arrives_whole(situation, document):
        loaded = replace(_seen(situation, Record(progress)), loaded=True)
        ahead = advance(progress, wanted, loaded).progress
        if ahead.phase is Phase.COMPLETE:
            return weights(replace(progress, weight=ahead.weight))
    return weights(progress)


def _arrives_whole(situation: Situation, document: PackageDocument | None) -> bool:
    """Tell whether a version is all there with the configuration that names it."""
    if document is None or document.oci is not None:
        return False
    return document.checksum not in situation.unready


def _place(progress: Progress) -> tuple[Phase, int, int]:
    """Return where a rollout stands; all phases may be passed within one second."""
    return progress.phase, progress.since, progress.step


def nonce(progress: Progress, version: VersionId) -> str:
    """Return what asks the runtime for one run of a version's health checks; empty for none."""
    if progress.phase in {Phase.LOAD, Phase.HEALTH_CHECK} and version == progress.target:
        return f"take-over-{progress.started_at}"
    if progress.phase is Phase.RESTORE and version == progress.origin:
        return f"restore-{progress.since}"
    return ""


def _seen(situation: Situation, record: Record | None) -> Seen:
    seen = Seen(situation.now, broken=situation.broken)
    if record is None:
        return seen
    progress, package, reports = record.progress, situation.package, situation.reports
    if progress.phase is Phase.RESTORE and progress.origin is not None:
        health, _ = _health(situation, progress, progress.origin)
        alone = reports.serves_alone(package, progress.origin)
        alone = alone and progress.origin.checksum not in situation.unready
        return replace(seen, origin_loaded=alone, origin_health=health)
    if progress.phase not in UNDER_WAY:
        return seen
    health, failure = _health(situation, progress, progress.target)
    analysis = Verdict.PENDING
    if progress.phase is Phase.SHIFT:
        analysis, failure = _analysis(situation, record)
    waits_for = situation.unready.get(progress.target.checksum, "")
    loaded = reports.loaded(package, progress.target) and not waits_for
    if situation.partner and health is Verdict.PASSED:
        health = Verdict.PENDING
    return replace(
        seen,
        loaded=loaded,
        health=health,
        analysis=analysis,
        failure=failure,
        obstacle=reports.obstacle(package, progress.target) or waits_for or situation.partner,
    )


def is_ready(
    package: str, progress: Progress, document: PackageDocument | None, reports: Reports
) -> bool:
    """Tell whether the target could take over at once, or has."""
    if progress.phase not in {Phase.LOAD, Phase.HEALTH_CHECK}:
        return progress.phase in {Phase.SHIFT, Phase.COMPLETE}
    health, _ = _checked(package, progress, progress.target, document, reports)
    return reports.loaded(package, progress.target) and health is Verdict.PASSED


def _health(
    situation: Situation, progress: Progress, version: VersionId
) -> tuple[Verdict, Failure | None]:
    document = situation.documents.get(version.checksum)
    return _checked(situation.package, progress, version, document, situation.reports)


def _checked(
    package: str,
    progress: Progress,
    version: VersionId,
    document: PackageDocument | None,
    reports: Reports,
) -> tuple[Verdict, Failure | None]:
    if document is None or not document.is_checked:
        return Verdict.PASSED, None
    return reports.health(package, version, nonce(progress, version))


def _analysis(situation: Situation, record: Record) -> tuple[Verdict, Failure | None]:
    """Judge the step by what came since it began; with no bounds there is nothing to wait for."""
    analysis = situation.rollout.analysis
    if not _is_judged(record.progress, analysis):
        return Verdict.PASSED, None
    if not situation.reports.complete:
        return Verdict.PENDING, None
    measured = since(record.baseline, _counts(situation, record.progress.target))
    if measured.crashes >= CRASHES:
        message = f"{measured.crashes} executions ended the process that ran them"
        return Verdict.FAILED, Failure("CrashLoop", message)
    return judge(analysis, measured)


def _is_judged(progress: Progress, analysis: Analysis) -> bool:
    return progress.phase is Phase.SHIFT and analysis != Analysis()


def _counts(situation: Situation, version: VersionId) -> Counts:
    slow = situation.rollout.analysis.max_latency_seconds
    return situation.reports.counts(situation.package, version, slow)


def _wake_at(
    situation: Situation, wake_at: int | None, progress: Progress, judged: bool
) -> int | None:
    moments = [] if wake_at is None else [wake_at]
    if judged:
        moments.append(situation.now + ANALYSIS_SECONDS)
    polled = situation.unready.keys() - situation.ringing
    if progress.phase in UNDER_WAY and progress.target.checksum in polled:
        moments.append(situation.now + PODS_SECONDS)
    if progress.phase in {Phase.HEALTH_CHECK, Phase.RESTORE}:
        moments.append(situation.now + CHECK_SECONDS)
    return min(moments, default=None)
