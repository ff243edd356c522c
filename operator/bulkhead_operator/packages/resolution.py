"""Judges the versions that are to take over by what they need, beside those that are in service.

What serves is never taken down by what wants to: a new version that another package in service
does not allow is refused, and one that needs a package which is on its way waits for it.
"""

from collections.abc import Mapping, Sequence
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

    `absent` tells that it is refused only because a package does not exist, which may still come.
    """

    refusal: str = ""
    absent: bool = False
    waits: str = ""
    unmet: tuple[str, ...] = ()


NOTHING = Judgement()


def judge(members: Sequence[Member], offers: Offers) -> Mapping[str, Judgement]:
    """Judge all members, oldest first; those without needs that nobody needs are left out."""
    absent = _absent(members)
    members = _concerned(members)
    refused = {
        one.name: reason
        for one in members
        if one.target is not None and (reason := _breaks(one.target, members))
    }
    while True:
        expected = [chosen for one in members if (chosen := _expected(one, refused)) is not None]
        result = resolve(expected, offers)
        new = {
            one.name: result.refused[one.name]
            for one in members
            if one.target is not None and one.name not in refused and one.name in result.refused
        }
        if not new:
            break
        refused |= new
    return {
        one.name: Judgement(
            refused.get(one.name) or result.refused.get(one.name, ""),
            one.name in absent,
            _waits(one, members),
            result.unmet.get(one.name, ()),
        )
        for one in members
    }


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


def _breaks(target: Package, members: Sequence[Member]) -> str:
    """Return which version in service does not allow the target."""
    for one in members:
        if one.serving is None or one.name == target.name:
            continue
        for need in _required(one.serving):
            if need.thing.name == target.name and not need.range.allows(target.version):
                return (
                    f"{target} cannot take over: {one.serving}, which is in service, needs {need}"
                )
    return ""


def _waits(member: Member, members: Sequence[Member]) -> str:
    """Return the first package that the target needs and that does not serve it yet."""
    if member.target is None:
        return ""
    serving = {one.name: one.serving.version for one in members if one.serving is not None}
    for need in _required(member.target):
        version = serving.get(need.thing.name)
        if version is None or not need.range.allows(version):
            return f"{member.target} waits for package {need} to be in service"
    return ""


def _required(package: Package) -> list[Need]:
    return [need for need in package.needs if need.required and need.thing.kind == "package"]
