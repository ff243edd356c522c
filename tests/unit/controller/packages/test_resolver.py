import pytest
from hypothesis import given
from hypothesis import strategies as st
from semver import Version

from bulkhead_operator.packages.ranges import VersionRange
from bulkhead_operator.packages.resolver import Kind, Need, Package, Thing, resolve

CRM = Thing("integration", "crm")


def _need(name: str, text: str, kind: Kind = "integration", *, required: bool = True) -> Need:
    return Need(Thing(kind, name), VersionRange.parse(text), required)


def _package(name: str, version: str, *needs: Need) -> Package:
    return Package(name, Version.parse(version), needs)


def _has(*versions: str) -> dict[Thing, list[Version]]:
    return {CRM: [Version.parse(version) for version in versions]}


BILLING = _package("billing", "1.4.0", _need("crm", "2.9"))
SUPPORT = _package("support", "2.1.0", _need("crm", ">=3 <4"))


def test_the_highest_version_that_suits_everybody_is_picked() -> None:
    reports = _package("reports", "1.0.0", _need("crm", "^3"))
    found = resolve([SUPPORT, reports], _has("2.9.0", "3.0.0", "3.2.0", "4.0.0"))

    assert found.refused == {}
    assert found.picked[CRM] == Version.parse("3.2.0")


@pytest.mark.parametrize(
    ("packages", "versions", "reason"),
    [
        pytest.param(
            [BILLING, SUPPORT],
            ["2.9.0", "3.1.0"],
            "package support 2.1.0 needs integration crm >=3 <4, but package billing 1.4.0 needs "
            "crm 2.9; the organization has 2.9.0, 3.1.0",
            id="two who disagree",
        ),
        pytest.param(
            [SUPPORT],
            ["2.9.0"],
            "package support 2.1.0 needs integration crm >=3 <4, but the organization has 2.9.0",
            id="what is too old",
        ),
        pytest.param(
            [SUPPORT],
            [],
            "package support 2.1.0 needs integration crm >=3 <4, but the organization has none",
            id="what is not there",
        ),
    ],
)
def test_a_conflict_is_told_as_a_person_would(
    packages: list[Package], versions: list[str], reason: str
) -> None:
    assert resolve(packages, _has(*versions)).refused == {"support": reason}


def test_who_serves_already_is_not_taken_down_by_who_comes_later() -> None:
    found = resolve([BILLING, SUPPORT], _has("2.9.0", "3.1.0"))
    assert found.picked == {CRM: Version.parse("2.9.0")}


def test_needs_of_needed_packages_count_too() -> None:
    desk = _package("desk", "1.0.0", _need("support", "^2", "package"))
    refused = resolve([BILLING, desk, SUPPORT], _has("2.9.0", "3.1.0")).refused
    alone = resolve([desk, SUPPORT], _has("3.1.0"))

    assert sorted(refused) == ["desk", "support"]
    assert alone.picked[CRM] == Version.parse("3.1.0")


def test_packages_in_a_circle_are_refused_with_the_way_round_and_all_others_are_not() -> None:
    ring = [
        _package(name, "1.0.0", _need(other, "*", "package"))
        for name, other in (("one", "two"), ("two", "three"), ("three", "one"))
    ]
    leaning = _package("leaning", "1.0.0", _need("one", "^1", "package"))
    found = resolve([*ring, leaning, SUPPORT], _has("3.1.0"))

    assert sorted(found.refused) == ["leaning", "one", "three", "two"]
    assert "in a circle: " in found.refused["one"]
    assert {"one", "two", "three"} <= set(found.refused["one"].replace("->", " ").split())
    assert found.picked[CRM] == Version.parse("3.1.0")


def test_an_optional_need_is_reported_and_stops_nobody() -> None:
    curious = _package(
        "curious",
        "1.0.0",
        _need("crm", "^3"),
        _need("search", "^1", required=False),
        _need("python", ">=3.11", "runtime", required=False),
    )
    python = Thing("runtime", "python")
    found = resolve([curious], {**_has("3.1.0"), python: [Version.parse("3.13.0")]})

    assert found.refused == {}
    assert found.unmet == {
        "curious": (
            "package curious 1.0.0 needs integration search ^1, but the organization has none",
        )
    }
    assert found.picked[python] == Version.parse("3.13.0")


NAMES = st.sampled_from(["crm", "search", "mail"])
RANGES = st.sampled_from(["*", "^1", "^2", ">=2", "<2", "1.x || 3.x"])
PACKAGES = st.lists(
    st.tuples(NAMES, RANGES, st.booleans()), max_size=3, unique_by=lambda need: need[0]
)


@given(
    st.lists(PACKAGES, max_size=5),
    st.dictionaries(NAMES, st.lists(st.integers(1, 3), max_size=3, unique=True)),
)
def test_what_is_picked_suits_all_that_were_not_refused(
    wishes: list[list[tuple[str, str, bool]]], versions: dict[str, list[int]]
) -> None:
    packages = [
        _package(
            f"p{number}", "1.0.0", *(_need(name, text, required=must) for name, text, must in needs)
        )
        for number, needs in enumerate(wishes)
    ]
    offers = {
        Thing("integration", name): [Version(number, 0, 0) for number in numbers]
        for name, numbers in versions.items()
    }
    found = resolve(packages, offers)

    assert found == resolve(packages, offers)
    for package in packages:
        met = [
            need.thing in found.picked and need.range.allows(found.picked[need.thing])
            for need in package.needs
            if need.required
        ]
        assert all(met) or package.name in found.refused
