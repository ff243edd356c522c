import pytest
from hypothesis import given
from hypothesis import strategies as st
from semver import Version

from bulkhead_operator.packages.ranges import RangeError, VersionRange

NUMBERS = st.integers(min_value=0, max_value=5)
VERSIONS = st.builds(Version, NUMBERS, NUMBERS, NUMBERS)


def _allows(text: str, version: str) -> bool:
    return VersionRange.parse(text).allows(Version.parse(version))


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("1.2.3", ["1.2.3"], ["1.2.4", "1.2.3-rc.1"]),
        ("1.2", ["1.2.0", "1.2.9"], ["1.3.0"]),
        ("1.x", ["1.0.0", "1.9.9"], ["2.0.0", "0.9.9"]),
        ("*", ["0.0.0", "99.0.0"], ["1.0.0-rc.1"]),
        ("!=1.2.3", ["1.2.4"], ["1.2.3"]),
        ("!=1.2.x", ["1.3.0"], ["1.2.9"]),
        (">1.2", ["1.3.0"], ["1.2.9"]),
        ("<=1.2", ["1.2.9"], ["1.3.0"]),
        ("<=2.x", ["2.9.9"], ["3.0.0"]),
        ("~1.2.3", ["1.2.3", "1.2.9"], ["1.2.2", "1.3.0"]),
        ("~1", ["1.9.0"], ["2.0.0"]),
        ("^1.2.3", ["1.9.9"], ["1.2.2", "2.0.0", "2.0.0-rc.1"]),
        ("^0.2.3", ["0.2.9"], ["0.3.0"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4"]),
        ("^0.0", ["0.0.9"], ["0.1.0"]),
        ("1.2 - 1.4", ["1.2.0", "1.4.9"], ["1.5.0", "1.1.9"]),
        (">=1.2, <2", ["1.9.9"], ["2.0.0"]),
        (">= 3 <4", ["3.1.0"], ["4.0.0"]),
        ("^1 || ^3", ["1.5.0", "3.5.0"], ["2.0.0"]),
        (">=1.2.0-0", ["1.3.0-beta.1", "1.3.0"], ["1.1.0"]),
        ("v1.2.3", ["1.2.3"], ["1.2.4"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_range_means_what_helm_and_flux_mean_by_it(
    text: str, inside: list[str], outside: list[str]
) -> None:
    assert [version for version in inside if not _allows(text, version)] == []
    assert [version for version in outside if _allows(text, version)] == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "   ", "latest", "1.2.3,", "||", "^", "1..2", "1.2.3.4", "01.2.3", "^1 ||", ">*"),
        *("< x", "1" * 300, " || ".join(["1"] * 17), " ".join([">=1"] * 17)),
    ],
    ids=lambda text: f"{text[:12]!r} of {len(text)}",
)
def test_what_is_no_range_is_refused_with_what_can_be_written(text: str) -> None:
    with pytest.raises(RangeError, match=r"a range has at most|write for example"):
        VersionRange.parse(text)


@given(VERSIONS, VERSIONS)
def test_a_caret_never_crosses_a_breaking_version(base: Version, other: Version) -> None:
    allowed = VersionRange.parse(f"^{base}").allows(other)
    parts = (base.major, base.minor, base.patch)
    leading = next((place for place, part in enumerate(parts) if part), 2)
    same = (other.major, other.minor, other.patch)[: leading + 1] == parts[: leading + 1]
    assert allowed == (same and other >= base)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_together_comparisons_narrow_and_alternatives_widen(
    low: Version, high: Version, version: Version
) -> None:
    above, below = version >= low, version < high
    assert VersionRange.parse(f">={low} <{high}").allows(version) == (above and below)
    assert VersionRange.parse(f">={low} || <{high}").allows(version) == (above or below)


@given(VERSIONS, VERSIONS)
def test_an_operator_and_its_opposite_divide_all_versions(one: Version, other: Version) -> None:
    for operator, opposite in (("=", "!="), (">", "<="), (">=", "<")):
        assert VersionRange.parse(f"{operator}{one}").allows(other) != (
            VersionRange.parse(f"{opposite}{one}").allows(other)
        )
