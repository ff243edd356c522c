"""Folds the packages of a namespace into what the runtime loads.

Each package is taken one step further in its rollout; the shares of new sessions follow from what
was decided, and versions that still have sessions stay loaded beside, without new ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from bulkhead_api.names import package_key
from bulkhead_api.runtime_config import PackageDocument, PackageRoute, VersionRoute
from bulkhead_operator.errors import NotReadyYet, UserError
from bulkhead_operator.packages import needs
from bulkhead_operator.packages.decision import Next, Situation, decide, nonce
from bulkhead_operator.packages.pods import Pods
from bulkhead_operator.packages.ranges import RangeError
from bulkhead_operator.packages.record import Record
from bulkhead_operator.packages.reports import Reports
from bulkhead_operator.packages.resolution import NOTHING, Judgement
from bulkhead_operator.packages.rollout import Failure, Phase, VersionId, weights
from bulkhead_operator.policies import package as policy
from bulkhead_operator.policies.package import Offered
from bulkhead_operator.policies.rules import first_violation
from bulkhead_operator.reconcile import awaiting, deliveries
from bulkhead_operator.reconcile.candidate import Candidate, Decided
from bulkhead_operator.reconcile.image_table import ImageTable, endpoint
from bulkhead_operator.resources.blueprint import ImageBlueprint, RevisionBlueprint
from bulkhead_operator.resources.configuration import Shelf
from bulkhead_operator.status import reasons

FULL_WEIGHT: Final = 100
SOURCE_SECONDS: Final = 15
"""How soon a ConfigMap is read again that was not there or no manifest."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is the same for all packages of an organization."""

    offered: Offered = field(default_factory=Offered)
    refused: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Files that the runtime refused, with their checksum and its reason."""
    reports: Reports = field(default_factory=lambda: Reports({}))
    judgements: Mapping[str, Judgement] = field(default_factory=dict)
    unknown: str = ""
    """What has to be known of the runtime first, when something depends on it."""
    idle: bool = False
    """Whether no replica could answer."""
    alone: bool = False
    """Whether one replica is all there is."""
    crashing_since: int | None = None
    """When the last container that crashes again and again ended."""
    pods: Pods = field(default_factory=Pods)
    """What is known of the pods of versions with an image of their own."""
    partners: Mapping[str, str] = field(default_factory=dict)
    """What packages wait for that can only take over together with others."""
    now: int = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """What the runtime shall load, and what was decided about each package."""

    routes: tuple[PackageRoute, ...]
    maps: tuple[Mapping[str, str], ...]
    revisions: tuple[RevisionBlueprint, ...]
    decided: Mapping[str, Decided]
    images: tuple[ImageBlueprint, ...] = ()


def select(candidates: Iterable[Candidate], surroundings: Surroundings) -> Selection:
    """Decide about all packages, oldest first; what serves keeps its place and its names."""
    ordered = sorted(candidates, key=lambda one: (one.created, one.name))
    table = _Table(surroundings, awaiting.stepping(ordered))
    for candidate in ordered:
        for document in (*candidate.serving, *candidate.retained):
            table.shelf.put(file_name(document), document.written())
            table.images.note(document)
        table.take_names(candidate, candidate.serving)
    for candidate in ordered:
        table.add(candidate)
    return Selection(
        tuple(table.routes),
        table.shelf.maps,
        tuple(table.revisions),
        table.decided,
        table.images.running,
    )


def file_name(document: PackageDocument) -> str:
    """Return the file that holds a document."""
    return package_key(document.package, document.version)


def identity(document: PackageDocument) -> VersionId:
    """Return what names a document's content."""
    return VersionId(document.version, document.checksum)


class _Table:
    def __init__(self, surroundings: Surroundings, stepping: AbstractSet[str]) -> None:
        self._around = surroundings
        self.shelf = Shelf()
        self.taken: dict[str, str] = {}
        self.routes: list[PackageRoute] = []
        self.revisions: list[RevisionBlueprint] = []
        self.images = ImageTable()
        self.decided: dict[str, Decided] = {}
        self._stepping = stepping

    def take_names(self, candidate: Candidate, documents: Sequence[PackageDocument]) -> None:
        """Note the agents of versions; nobody else may define them."""
        for document in documents:
            names = [agent.name for agent in document.agents]
            if document.oci is not None:
                version = identity(document)
                names.extend(self._around.reports.agents(candidate.name, version))
            for name in names:
                self.taken.setdefault(name, candidate.name)

    def add(self, candidate: Candidate) -> None:
        """Decide about a package and note what is loaded of it."""
        violation, waiting = self._judge(candidate)
        following = self._next(candidate, violation, waiting)
        record = following.record if following is not None else candidate.record
        wake_at = following.wake_at if following is not None else None
        retained, unload_at = self._retained(candidate, record)
        shares = following.shares if following is not None else _recorded_shares(record)
        self._serve(candidate, record, shares, retained)
        judgement, now = self._around.judgements.get(candidate.name, NOTHING), self._around.now
        absent_until = awaiting.absent_until(candidate, judgement, now)
        look_again = self._around.now + SOURCE_SECONDS if _lies_elsewhere(candidate) else None
        moments = [
            moment
            for moment in (wake_at, unload_at, look_again, absent_until)
            if moment is not None
        ]
        self.decided[candidate.name] = Decided(
            uid=candidate.package.metadata.uid,
            generation=candidate.package.metadata.generation,
            record=record,
            violation=violation,
            waiting=waiting,
            absent_since=awaiting.absent_since(candidate, judgement, now),
            unready=self._unready(candidate, record),
            unmet=judgement.unmet,
            suspended=candidate.invalid is None and candidate.package.spec.suspend,
            asked=candidate.asked.target if candidate.asked else None,
            by=candidate.manager,
            wake_at=min(moments, default=None),
            watched=following is not None and following.watched,
            measured=following is not None and following.measured,
            begins=following is not None and following.begins,
        )

    def _judge(self, candidate: Candidate) -> tuple[UserError | None, NotReadyYet | None]:
        """Return why the version that is asked for cannot take over, or what it waits for."""
        document = candidate.target
        if document is None or candidate.asked is None:
            return candidate.invalid, None
        violation = self._violation(candidate, document)
        judgement = self._around.judgements.get(candidate.name, NOTHING)
        if violation is None and self._around.unknown and _needs_reports(candidate, document):
            served = document in candidate.serving
            waits = NotReadyYet(reasons.WAITING_FOR_DEPENDENCY, self._around.unknown)
            return None, None if served else waits
        if violation is None and awaiting.absent_until(candidate, judgement, self._around.now):
            return None, NotReadyYet(reasons.WAITING_FOR_DEPENDENCY, f"{judgement.refusal}.")
        if violation is None and judgement.together:
            violation = awaiting.steps_apart(candidate, judgement, self._stepping)
        if violation is None and judgement.refusal:
            violation = UserError(
                reasons.DEPENDENCY_NOT_MET,
                f"`spec.dependencies` of version {document.version}: {judgement.refusal}.",
            )
        if violation is None and judgement.waits:
            return None, NotReadyYet(reasons.WAITING_FOR_DEPENDENCY, f"{judgement.waits}.")
        if violation is None and self._is_away(candidate, document):
            message = f"No pod of version {document.version} is ready, so nobody answers for it."
            return None, NotReadyYet(reasons.IMAGE_AWAY, message)
        return violation, None

    def _is_away(self, candidate: Candidate, document: PackageDocument) -> bool:
        """Tell whether the image of the version that serves has no pod to answer."""
        record = candidate.record
        settled = record is not None and record.progress.phase is Phase.COMPLETE
        serves = settled and document in candidate.serving
        return serves and document.checksum in self._around.pods.down and not self._around.idle

    def _violation(self, candidate: Candidate, document: PackageDocument) -> UserError | None:
        assert candidate.asked is not None
        if candidate.invalid is not None:
            return candidate.invalid
        try:
            needs.needs(document.dependencies, candidate.package.spec.runtime_requirements)
        except RangeError as error:
            return UserError(reasons.INVALID_RANGE, f"{error}.")
        if candidate.asked.unknown:
            return deliveries.unknown_revision(candidate, candidate.asked.unknown)
        reason = self._refusal(document)
        if reason:
            return UserError(
                reasons.CONFIGURATION_REFUSED,
                f"`spec.version` '{document.version}' was refused by the runtime: {reason}. "
                "Correct the content and give it a new version.",
            )
        judged = policy.Judged(
            document=document,
            text=document.written(),
            known_checksums={one.version: one.checksum for one in candidate.history},
            offered=self._around.offered,
            taken=self.taken,
            requirements=candidate.package.spec.runtime_requirements,
            beside=self.images.beside(document),
        )
        violation = first_violation(policy.RULES, judged)
        if violation is None and not self.shelf.put(file_name(document), judged.text):
            return policy.no_room(candidate.name)
        return violation

    def _refusal(self, document: PackageDocument) -> str:
        """Return why the runtime refused a document; empty where it did not."""
        checksum, reason = self._around.refused.get(file_name(document), ("", ""))
        return reason if checksum == document.checksum else ""

    def _next(
        self, candidate: Candidate, violation: UserError | None, waiting: NotReadyYet | None
    ) -> Next | None:
        """Take the rollout a step further; None where nothing may begin or change."""
        record = candidate.record
        subject = candidate.subject(blocked=violation is not None or waiting is not None)
        if subject is None:
            return None
        former = candidate.asked is None or candidate.asked.target != subject.target
        failure = None
        if violation is not None and not former:
            failure = Failure(violation.reason, violation.message)
        return decide(
            Situation(
                package=candidate.name,
                rollout=candidate.package.spec.rollout,
                annotations=candidate.package.metadata.annotations,
                asked=subject,
                record=record,
                reports=self._around.reports,
                documents=candidate.documents,
                now=self._around.now,
                held=candidate.package.spec.suspend
                or self._around.idle
                or (former and candidate.replaces),
                broken=failure or self._crashed(record),
                unready=self._around.pods.waiting,
                ringing=self._around.pods.ringing,
                partner="" if former else self._around.partners.get(candidate.name, ""),
                alone=self._around.alone,
            )
        )

    def _unready(self, candidate: Candidate, record: Record | None) -> str:
        checksum = record.progress.target.checksum if record is not None else ""
        waiting = self._around.pods.waiting.get(checksum, "")
        return waiting or self._around.partners.get(candidate.name, "")

    def _crashed(self, record: Record | None) -> Failure | None:
        """Blame every version that is taking over when the runtime began to crash meanwhile."""
        ended = self._around.crashing_since
        if record is not None and record.progress.target.checksum in self._around.pods.failures:
            return self._around.pods.failures[record.progress.target.checksum]
        if record is None or ended is None or ended < record.progress.started_at:
            return None
        message = "the runtime crashes again and again since this version was loaded"
        return Failure(reasons.CRASH_LOOP, message)

    def _retained(
        self, candidate: Candidate, record: Record | None
    ) -> tuple[tuple[PackageDocument, ...], int | None]:
        """Return the versions that stay for their sessions, and when their time ends."""
        settled = record is not None and record.progress.phase in {Phase.COMPLETE, Phase.RESTORED}
        if not settled or candidate.invalid is not None or not candidate.retained:
            return candidate.retained, None
        assert record is not None
        unload_at = record.progress.since + candidate.package.spec.rollout.drain_deadline_seconds
        if self._around.now >= unload_at:
            return (), None
        return candidate.retained, unload_at

    def _serve(
        self,
        candidate: Candidate,
        record: Record | None,
        wanted: Mapping[VersionId, int],
        retained: tuple[PackageDocument, ...],
    ) -> None:
        shares = self._shares(candidate, wanted)
        documents = {identity(one): one for one in retained if self._loadable(one)}
        loaded = dict.fromkeys(documents, 0) | shares
        documents |= {version: candidate.documents[version.checksum] for version in shares}
        self.take_names(candidate, [documents[version] for version in shares])
        for version in shares:
            self.shelf.put(file_name(documents[version]), documents[version].written())
        if loaded:
            versions = tuple(
                VersionRoute(
                    version=version.version,
                    checksum=version.checksum,
                    weight=weight,
                    check=self._nonce(record, documents[version]),
                    endpoint=endpoint(documents[version]),
                )
                for version, weight in sorted(loaded.items(), key=lambda item: item[0].version)
            )
            self.routes.append(PackageRoute(package=candidate.name, versions=versions))
        self.images.run(candidate, [documents[version] for version in loaded])
        if record is not None:
            target = candidate.documents.get(record.progress.target.checksum)
            if target is not None:
                documents[identity(target)] = target
        self.revisions.extend(deliveries.revisions(candidate, record, documents.values()))

    def _shares(
        self, candidate: Candidate, wanted: Mapping[VersionId, int]
    ) -> dict[VersionId, int]:
        """Return the shares of the versions that can be loaded; they add up to 100 or to 0."""
        shares = {
            version: weight
            for version, weight in wanted.items()
            if version.checksum in candidate.documents
            and self._loadable(candidate.documents[version.checksum])
        }
        total = sum(shares.values())
        if 0 < total < FULL_WEIGHT:
            # The other version's content is gone: whoever is left serves alone.
            heaviest = max(shares, key=lambda version: shares[version])
            shares[heaviest] += FULL_WEIGHT - total
        return shares

    def _loadable(self, document: PackageDocument) -> bool:
        checksum, _ = self._around.refused.get(file_name(document), ("", ""))
        return checksum != document.checksum

    def _nonce(self, record: Record | None, document: PackageDocument) -> str:
        if record is None or not document.is_checked:
            return ""
        if document.checksum in self._around.pods.waiting:
            return ""  # asked when there is somebody to answer
        return nonce(record.progress, identity(document))


def _recorded_shares(record: Record | None) -> Mapping[VersionId, int]:
    return weights(record.progress) if record is not None else {}


def _needs_reports(candidate: Candidate, document: PackageDocument) -> bool:
    """Tell whether only a runtime can say if what the version needs is there."""
    wishes = needs.needs(document.dependencies, candidate.package.spec.runtime_requirements)
    return any(need.thing.kind in needs.REPORTED for need in wishes)


def retried(candidate: Candidate) -> bool:
    """Tell whether a person asks to try a version again that was taken back."""
    record = candidate.record
    if record is None or record.progress.phase is not Phase.RESTORED:
        return False
    return deliveries.retry_of(candidate) != record.progress.retry


def _lies_elsewhere(candidate: Candidate) -> bool:
    """Tell whether the content is awaited in an object whose change rings no bell."""
    return candidate.invalid is not None and candidate.invalid.reason in {
        reasons.SOURCE_NOT_FOUND,
        reasons.SOURCE_INVALID,
    }
