"""The packages of a namespace as the resolver takes them."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.v1alpha1.package_dependencies import RuntimeRequirements
from bulkhead_operator.packages import needs
from bulkhead_operator.packages.ranges import RangeError
from bulkhead_operator.packages.resolution import Member
from bulkhead_operator.packages.resolver import Kind, Package
from bulkhead_operator.reconcile.candidate import Candidate


def members(candidates: Sequence[Candidate]) -> tuple[list[Member], AbstractSet[Kind]]:
    """Return the packages oldest first, and the kinds of things that any of them needs."""
    ordered = sorted(candidates, key=lambda one: (one.created, one.name))
    found = [_member(one) for one in ordered]
    kinds = {
        need.thing.kind
        for one in found
        for version in (one.serving, one.target)
        if version is not None
        for need in version.needs
    }
    return (found if kinds else []), kinds


def _member(candidate: Candidate) -> Member:
    serving = _package(candidate, next(iter(candidate.serving), None))
    if candidate.asked is None or candidate.target in candidate.serving or _failed(candidate):
        return Member(candidate.name, serving, None)
    requirements = candidate.package.spec.runtime_requirements
    return Member(candidate.name, serving, _package(candidate, candidate.target, requirements))


def _failed(candidate: Candidate) -> bool:
    record = candidate.record
    return (
        record is not None
        and record.progress.failure is not None
        and candidate.asked is not None
        and record.progress.target == candidate.asked.target
    )


def _package(
    candidate: Candidate,
    document: PackageDocument | None,
    requirements: RuntimeRequirements | None = None,
) -> Package | None:
    version = needs.semantic(document.version) if document is not None else None
    if document is None or version is None:
        return None
    try:
        wanted = needs.needs(document.dependencies, requirements)
    except RangeError:
        # Refused by its own rule, with the field's name; nothing can be asked of it here.
        return None
    return Package(candidate.name, version, wanted)
