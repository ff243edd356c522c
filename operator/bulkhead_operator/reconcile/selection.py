"""Folds the packages of a namespace into what the runtime loads.

Each package is served in the version that its spec wants, or in its last good one; versions that
still have sessions stay loaded beside, without new ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bulkhead_api.names import package_key
from bulkhead_api.runtime_config import PackageDocument, PackageRoute, VersionRoute
from bulkhead_api.v1alpha1 import AgentPackage
from bulkhead_operator.errors import UserError
from bulkhead_operator.policies import package as policy
from bulkhead_operator.policies.package import Offered
from bulkhead_operator.policies.rules import first_violation
from bulkhead_operator.reconcile.history import Recorded
from bulkhead_operator.resources.blueprint import RevisionBlueprint
from bulkhead_operator.resources.configuration import Shelf
from bulkhead_operator.status import reasons

FULL_WEIGHT = 100


@dataclass(frozen=True, slots=True)
class Candidate:
    """One package with its past."""

    package: AgentPackage
    created: str
    wanted: PackageDocument | None
    """What the spec wants; None when the spec is not valid."""
    invalid: UserError | None
    history: Sequence[Recorded] = ()
    fallback: PackageDocument | None = None
    """The last version that was good."""
    retained: tuple[PackageDocument, ...] = ()
    """Other versions that are loaded and may still have sessions."""

    @property
    def name(self) -> str:
        """Return the package's name."""
        return self.package.metadata.name


@dataclass(frozen=True, slots=True)
class Selection:
    """What the runtime shall load, and what was decided about each package."""

    routes: tuple[PackageRoute, ...]
    maps: tuple[Mapping[str, str], ...]
    revisions: tuple[RevisionBlueprint, ...]
    verdicts: Mapping[str, UserError | None]


@dataclass(slots=True)
class _Table:
    shelf: Shelf = field(default_factory=Shelf)
    taken: dict[str, str] = field(default_factory=dict)
    routes: list[PackageRoute] = field(default_factory=list)
    revisions: list[RevisionBlueprint] = field(default_factory=list)
    verdicts: dict[str, UserError | None] = field(default_factory=dict)


def select(
    candidates: Iterable[Candidate],
    offered: Offered,
    refused: Mapping[str, tuple[str, str]],
) -> Selection:
    """Decide about all packages, oldest first.

    `refused` maps files that the runtime refused to their checksum and its reason.
    """
    ordered = sorted(candidates, key=lambda one: (one.created, one.name))
    table = _Table()
    for candidate in ordered:
        # First, because it is in service already and must not lose its place.
        for document in candidate.retained:
            table.shelf.put(_file(document), text(document))
    for candidate in ordered:
        violation = _violation(candidate, offered, refused, table)
        served = candidate.wanted if violation is None else _fallback(candidate, table)
        _serve(candidate, served, table)
        table.verdicts[candidate.name] = violation
    return Selection(tuple(table.routes), table.shelf.maps, tuple(table.revisions), table.verdicts)


def text(document: PackageDocument) -> str:
    """Return a document as its file holds it."""
    return document.written()


def _file(document: PackageDocument) -> str:
    return package_key(document.package, document.version)


def _violation(
    candidate: Candidate,
    offered: Offered,
    refused: Mapping[str, tuple[str, str]],
    table: _Table,
) -> UserError | None:
    document = candidate.wanted
    if document is None:
        return candidate.invalid
    checksum, reason = refused.get(_file(document), ("", ""))
    if checksum == document.checksum:
        return UserError(
            reasons.CONFIGURATION_REFUSED,
            f"`spec.version` '{document.version}' was refused by the runtime: {reason}. Correct "
            "`spec.agents` and give it a new version.",
        )
    judged = policy.Judged(
        document=document,
        text=text(document),
        known_checksums={one.version: one.checksum for one in candidate.history},
        offered=offered,
        taken=table.taken,
    )
    violation = first_violation(policy.RULES, judged)
    if violation is None and not table.shelf.put(_file(document), judged.text):
        return policy.no_room(candidate.name)
    return violation


def _fallback(candidate: Candidate, table: _Table) -> PackageDocument | None:
    document = candidate.fallback
    if document is None or policy.name_conflict(document, table.taken) is not None:
        return None
    return document if table.shelf.put(_file(document), text(document)) else None


def _serve(candidate: Candidate, served: PackageDocument | None, table: _Table) -> None:
    loaded = [(one, 0) for one in candidate.retained if one != served]
    if served is not None:
        loaded.append((served, FULL_WEIGHT))
        table.taken.update({agent.name: candidate.name for agent in served.agents})
    if not loaded:
        return
    versions = tuple(
        VersionRoute(version=one.version, checksum=one.checksum, weight=weight)
        for one, weight in loaded
    )
    table.routes.append(PackageRoute(package=candidate.name, versions=versions))
    table.revisions.extend(
        _revision(candidate, one, newest=one is served and one == candidate.wanted)
        for one, _ in loaded
    )


def _revision(
    candidate: Candidate, document: PackageDocument, *, newest: bool
) -> RevisionBlueprint:
    number = next((one.number for one in candidate.history if one.checksum == document.checksum), 0)
    highest = candidate.history[0].number if candidate.history else 0
    if number == 0 or (newest and number < highest):
        number = highest + 1
    return RevisionBlueprint(
        package=candidate.name,
        package_uid=candidate.package.metadata.uid,
        version=document.version,
        checksum=document.checksum,
        number=number,
        document=text(document),
    )
