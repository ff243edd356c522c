"""Picks the versions of what packages depend on, or says in plain words why there are none.

An organization has integrations, the libraries of its runtime's image, the runtime itself and
packages; every one of them is there in one version at a time for all who depend on it, which is
why packages can conflict. resolvelib (pip's engine) searches; this module knows what there is.
Packages are added oldest first, so one that conflicts never takes down another that serves.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, Literal, NamedTuple

from resolvelib import AbstractProvider, BaseReporter, ResolutionImpossible, Resolver
from resolvelib.resolvers import ResolutionTooDeep
from resolvelib.structs import RequirementInformation
from semver import Version

from bulkhead_operator.packages.ranges import VersionRange

Kind = Literal["integration", "library", "runtime", "package"]
MAX_ROUNDS: Final = 2_000


class Thing(NamedTuple):
    """What can be depended on."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Need:
    """A wish of a package; one that is not `required` is only reported when it cannot be met."""

    thing: Thing
    range: VersionRange
    required: bool = True

    def __str__(self) -> str:
        return f"{self.thing.name} {self.range}"


@dataclass(frozen=True, slots=True)
class Package:
    """A version of a package with its needs."""

    name: str
    version: Version
    needs: tuple[Need, ...] = ()

    def __str__(self) -> str:
        return f"package {self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Resolution:
    """What was picked for everybody, and the optional needs of each package that are not met."""

    picked: Mapping[Thing, Version]
    refused: Mapping[str, str]
    unmet: Mapping[str, tuple[str, ...]]


Offers = Mapping[Thing, Sequence[Version]]
"""The versions that an organization has of each thing."""


def resolve(packages: Sequence[Package], offers: Offers) -> Resolution:
    """Resolve all packages, oldest first; `refused` holds the reason of each that cannot be."""
    refused = _cycles(packages)
    packages = [package for package in packages if package.name not in refused]
    accepted: list[Package] = []
    picked: Mapping[Thing, Version] = {}
    for package in packages:
        outcome = _search([*accepted, package], packages, offers)
        if isinstance(outcome, str):
            refused[package.name] = outcome
        else:
            accepted.append(package)
            picked = outcome
    unmet: dict[str, tuple[str, ...]] = {}
    for package in accepted:
        missing, picked = _add_optional(package, accepted, packages, offers, picked)
        if missing:
            unmet[package.name] = missing
    return Resolution(picked, refused, unmet)


def _add_optional(
    package: Package,
    accepted: Sequence[Package],
    packages: Sequence[Package],
    offers: Offers,
    picked: Mapping[Thing, Version],
) -> tuple[tuple[str, ...], Mapping[Thing, Version]]:
    """Meet what optional needs can be met beside what is required by all."""
    missing: list[str] = []
    for need in package.needs:
        if need.required:
            continue
        wish = Package(package.name, package.version, (Need(need.thing, need.range),))
        outcome = _search([*accepted, wish], packages, offers)
        if isinstance(outcome, str):
            missing.append(outcome)
        else:
            picked = outcome
    return tuple(missing), picked


def _cycles(packages: Sequence[Package]) -> dict[str, str]:
    """Return the packages that depend on themselves, with the way round."""
    names = {package.name for package in packages}
    graph = {package.name: _package_needs(package) & names for package in packages}
    refused: dict[str, str] = {}
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            round_trip: list[str] = error.args[1]
            way = " -> ".join(reversed(round_trip))
            refused.update(
                dict.fromkeys(round_trip, f"packages depend on each other in a circle: {way}")
            )
            graph = {name: needs - {*round_trip} for name, needs in graph.items()}
            graph = {name: needs for name, needs in graph.items() if name not in round_trip}
        else:
            return refused


def _package_needs(package: Package) -> set[str]:
    return {need.thing.name for need in package.needs if need.thing.kind == "package"}


@dataclass(frozen=True, slots=True)
class _Wish:
    """A need and whose it is; the root's wishes name a package in one version."""

    need: Need
    by: Package | None


@dataclass(frozen=True, slots=True)
class _Candidate:
    thing: Thing
    version: Version


class _Provider(AbstractProvider[_Wish, _Candidate, Thing]):
    def __init__(self, packages: Iterable[Package], offers: Offers) -> None:
        self._packages = {package.name: package for package in packages}
        self._offers = offers

    def identify(self, requirement_or_candidate: _Wish | _Candidate) -> Thing:
        if isinstance(requirement_or_candidate, _Wish):
            return requirement_or_candidate.need.thing
        return requirement_or_candidate.thing

    def get_preference(self, identifier: Thing, *_: object, **__: object) -> Thing:
        return identifier

    def find_matches(
        self,
        identifier: Thing,
        requirements: Mapping[Thing, Iterator[_Wish]],
        incompatibilities: Mapping[Thing, Iterator[_Candidate]],
    ) -> list[_Candidate]:
        wishes = list(requirements[identifier])
        excluded = {candidate.version for candidate in incompatibilities[identifier]}
        fitting = (
            version
            for version in self.versions(identifier)
            if version not in excluded and all(wish.need.range.allows(version) for wish in wishes)
        )
        return [_Candidate(identifier, version) for version in sorted(fitting, reverse=True)]

    def is_satisfied_by(self, requirement: _Wish, candidate: _Candidate) -> bool:
        return requirement.need.range.allows(candidate.version)

    def get_dependencies(self, candidate: _Candidate) -> list[_Wish]:
        if candidate.thing.kind != "package":
            return []
        package = self._packages[candidate.thing.name]
        return [_Wish(need, package) for need in package.needs if need.required]

    def versions(self, thing: Thing) -> Sequence[Version]:
        if thing.kind != "package":
            return self._offers.get(thing, ())
        package = self._packages.get(thing.name)
        return (package.version,) if package is not None else ()


def _search(
    roots: Sequence[Package], packages: Sequence[Package], offers: Offers
) -> Mapping[Thing, Version] | str:
    """Return what is picked for `roots`, or why nothing can be."""
    provider = _Provider(packages, offers)
    wishes = [_Wish(need, root) for root in roots for need in root.needs if need.required]
    try:
        result = Resolver(provider, BaseReporter()).resolve(wishes, max_rounds=MAX_ROUNDS)
    except ResolutionImpossible as error:
        return _explained(error.causes, roots[-1], provider)
    except ResolutionTooDeep:
        return f"{roots[-1]} has too many dependencies to be resolved: name narrower ranges"
    return {thing: candidate.version for thing, candidate in result.mapping.items()}


def _explained(
    causes: Collection[RequirementInformation[Any, Any]],
    newest: Package,
    provider: _Provider,
) -> str:
    """Tell who wants what, the newest first, or what there is where nobody contradicts."""
    wishes = sorted(
        {(cause.requirement.by or newest, cause.requirement.need) for cause in causes},
        key=lambda one: (one[0].name != newest.name, one[0].name, str(one[1])),
    )
    (by, need), others = wishes[0], wishes[1:]
    versions = provider.versions(need.thing)
    there = ", ".join(str(version) for version in sorted(versions)) or "none"
    said = f"{by} needs {need.thing.kind} {need}"
    against = [(other, wish) for other, wish in others if wish.thing == need.thing]
    if not against or not any(need.range.allows(version) for version in versions):
        return f"{said}, but the organization has {there}"
    others_said = " and ".join(f"{other} needs {wish}" for other, wish in against)
    return f"{said}, but {others_said}; the organization has {there}"
