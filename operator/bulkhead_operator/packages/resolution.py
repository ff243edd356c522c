"""Judges the versions that are to take over by what they need, beside those that are in service.

What serves is never taken down by what wants to: a new version that another package in service
does not allow is refused, and one that needs a package which is on its way waits for it. Where a
package needs another's new version while what it has in service needs the old one, both take over
at once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bulkhead_operator.packages.resolver import Need, Offers, Package, resolve


@dataclass(frozen=True, slots=True)
class Member:
    """A package: what serves now, and what is to take over (None when that is the same)."""

    name: str
    serving: Package | None
    target: Package | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """Why a version cannot take over, what it waits for, and which optional needs are not met.

    `absent` tells that it is refused only because a package does not exist, which may still come;
    `together` names the packages that can only take over at once with it.
    """

    refusal: str = ""
    absent: bool = False
    waits: str = ""
    together: frozenset[str] = frozenset()
    unmet: tuple[str, ...] = ()


NOTHING = Judgement()


def judge(members: Sequence[Member], offers: Offers) -> Mapping[str, Judgement]:
    """Judge all members, oldest first; those without needs that nobody needs are left out."""
    absent = _absent(members)
    members = _concerned(members)
    refused: dict[str, str] = {}
    while True:
        expected = [chosen for one in members if (chosen := _expected(one, refused)) is not None]
        result = resolve(expected, offers)
        broken = {
            one.name: reason
            for one in members
            if one.target is not None and (reason := _breaks(one.target, members, refused))
        }
        new = {
            one.name: why
            for one in members
            if one.target is not None
            and one.name not in refused
            and (why := broken.get(one.name) or result.refused.get(one.name, ""))
        }
        if not new:
            break
        refused |= new
    together = _together([one for one in members if one.name not in refused])
    return {
        one.name: Judgement(
            refused.get(one.name) or result.refused.get(one.name, ""),
            one.name in absent,
            _waits(one, members, together.get(one.name, frozenset())),
            together.get(one.name, frozenset()),
            result.unmet.get(one.name, ()),
        )
        for one in members
    }


def _together(members: Sequence[Member]) -> dict[str, frozenset[str]]:
    """Return with whom each target must take over at once: neither can come before the other."""
    bound = {one.name: {one.name} for one in members}
    for one in members:
        for other in members:
            if _needs_both(one, other):
                merged = bound[one.name] | bound[other.name]
                bound |= dict.fromkeys(merged, merged)
    return {name: frozenset(names - {name}) for name, names in bound.items() if len(names) > 1}


def _needs_both(one: Member, other: Member) -> bool:
    """Tell whether `one` needs the new `other`, while its version in service needs the old one."""
    if one.target is None or other.target is None:
        return False
    keeps_back = one.serving is not None and not _allows(one.serving, other.target)
    comes_later = other.serving is not None and not _allows(one.target, other.serving)
    return keeps_back and comes_later


def _allows(package: Package, other: Package) -> bool:
    needs = [need for need in _required(package) if need.thing.name == other.name]
    return all(need.range.allows(other.version) for need in needs)


def _absent(members: Sequence[Member]) -> set[str]:
    """Return the members whose target needs a package that is not there, or one that does."""
    there = {one.name for one in members}
    needed = {
        one.name: {need.thing.name for need in _required(one.target)}
        for one in members
        if one.target is not None
    }
    absent: set[str] = set()
    while True:
        more = {name for name, names in needed.items() if names - there or names & absent} - absent
        if not more:
            return absent
        absent |= more


def _concerned(members: Sequence[Member]) -> list[Member]:
    needed = {
        need.thing.name for one in members for need in _needs(one) if need.thing.kind == "package"
    }
    return [one for one in members if _needs(one) or one.name in needed]


def _needs(member: Member) -> tuple[Need, ...]:
    return tuple(
        need
        for version in (member.serving, member.target)
        if version is not None
        for need in version.needs
    )


def _expected(member: Member, refused: Mapping[str, str]) -> Package | None:
    if member.target is None or member.name in refused:
        return member.serving
    return member.target


def _breaks(target: Package, members: Sequence[Member], refused: Mapping[str, str]) -> str:
    """Return which version in service does not allow the target, and is not on its way out."""
    for one in members:
        if one.serving is None or one.name == target.name or _allows(one.serving, target):
            continue
        leaves = one.target is not None and one.name not in refused and _allows(one.target, target)
        if not leaves:
            need = next(need for need in _required(one.serving) if need.thing.name == target.name)
            return f"{target} cannot take over: {one.serving}, which is in service, needs {need}"
    return ""


def _waits(member: Member, members: Sequence[Member], together: Collection[str]) -> str:
    """Return the first package that must be in service, or out of it, before the target is."""
    if member.target is None:
        return ""
    serving = {one.name: one.serving for one in members if one.name not in together}
    for need in _required(member.target):
        other = serving.get(need.thing.name)
        missing = other is None or not need.range.allows(other.version)
        if missing and need.thing.name not in together:
            return f"{member.target} waits for package {need} to be in service"
    for name, other in serving.items():
        if other is not None and name != member.name and not _allows(other, member.target):
            return f"{member.target} waits for {other} to leave service"
    return ""


def _required(package: Package) -> list[Need]:
    return [need for need in package.needs if need.required and need.thing.kind == "package"]
