import re

import pytest
from semver import Version

from bulkhead_api.v1alpha1.integrations import Integration
from bulkhead_api.v1alpha1.package_dependencies import Dependency, RuntimeRequirements
from bulkhead_operator.packages import needs
from bulkhead_operator.packages.ranges import RangeError, VersionRange
from bulkhead_operator.packages.resolution import Member, judge
from bulkhead_operator.packages.resolver import Need, Package, Thing


def on(name: str, text: str) -> Need:
    return Need(Thing("package", name), VersionRange.parse(text))


def of(name: str, version: str, *wishes: Need) -> Package:
    return Package(name, Version.parse(version), wishes)


def test_a_version_that_another_in_service_does_not_allow_is_refused() -> None:
    above = Member("above", of("above", "1.0.0", on("below", "^1")), None)
    below = Member("below", of("below", "1.0.0"), of("below", "2.0.0"))
    found = judge([above, below], {})
    assert "above 1.0.0, which is in service, needs below ^1" in found["below"].refusal
    assert found["above"].refusal == ""


def test_two_that_need_each_others_new_version_take_over_at_once() -> None:
    above = Member(
        "above", of("above", "1.0.0", on("below", "^1")), of("above", "2.0.0", on("below", "^2"))
    )
    below = Member("below", of("below", "1.0.0"), of("below", "2.0.0"))
    for members in ([above, below], [below, above]):
        found = judge(members, {})
        assert found["above"].together == {"below"}
        assert found["below"].together == {"above"}
        assert [(one.refusal, one.waits) for one in found.values()] == [("", "")] * 2


def test_one_that_works_with_old_and_new_goes_first_and_the_other_waits() -> None:
    above = Member(
        "above", of("above", "1.0.0", on("below", "^1")), of("above", "2.0.0", on("below", "*"))
    )
    below = Member("below", of("below", "1.0.0"), of("below", "2.0.0"))
    found = judge([above, below], {})
    assert (found["above"].together, found["above"].waits) == (frozenset(), "")
    assert (
        found["below"].waits == "package below 2.0.0 waits for package above 1.0.0 to leave service"
    )


def test_what_cannot_come_takes_back_the_one_that_was_to_come_with_it() -> None:
    crm = Need(Thing("integration", "crm"), VersionRange.parse("^3"))
    above = Member(
        "above",
        of("above", "1.0.0", on("below", "^1")),
        of("above", "2.0.0", on("below", "^2"), crm),
    )
    below = Member("below", of("below", "1.0.0"), of("below", "2.0.0"))
    found = judge([above, below], {})
    assert "integration crm" in found["above"].refusal
    assert "above 1.0.0, which is in service, needs below ^1" in found["below"].refusal
    assert found["below"].together == frozenset()


def test_a_version_waits_for_the_package_that_is_on_its_way() -> None:
    above = Member("above", None, of("above", "1.0.0", on("below", "^2")))
    below = Member("below", of("below", "1.0.0"), of("below", "2.0.0"))
    found = judge([above, below], {})
    assert (found["above"].refusal, found["below"].refusal) == ("", "")
    assert found["above"].waits == "package above 1.0.0 waits for package below ^2 to be in service"


def test_a_package_that_cannot_come_takes_those_with_it_that_need_it() -> None:
    crm = Need(Thing("integration", "crm"), VersionRange.parse("^3"))
    above = Member("above", None, of("above", "1.0.0", on("below", "^2")))
    below = Member("below", of("below", "1.0.0"), of("below", "2.0.0", crm))
    found = judge([above, below], {})
    for name in ("below", "above"):
        assert found[name].refusal.startswith("package below 2.0.0 needs integration crm ^3")


def test_what_needs_a_package_that_does_not_exist_may_still_get_it() -> None:
    top = Member("top", None, of("top", "1.0.0", on("above", "*")))
    above = Member("above", None, of("above", "1.0.0", on("below", "*")))
    found = judge([top, above], {})
    assert [found[name].absent for name in ("top", "above")] == [True, True]
    below = Member("below", of("below", "1.0.0"), None)
    assert not any(one.absent for one in judge([top, above, below], {}).values())


def test_packages_in_a_circle_are_refused_together() -> None:
    left = Member("left", None, of("left", "1.0.0", on("right", "*")))
    right = Member("right", None, of("right", "1.0.0", on("left", "*")))
    found = judge([left, right], {})
    assert all("circle" in found[name].refusal for name in ("left", "right"))


def test_packages_that_nobody_needs_and_that_need_nothing_are_not_looked_at() -> None:
    assert judge([Member("plain", None, of("plain", "1.0.0"))], {}) == {}


def test_python_distributions_are_found_whatever_their_spelling() -> None:
    wish = Dependency(type="Library", name="Typing_Extensions", version=">=4.9")
    (need,) = needs.needs([wish])
    offered = needs.offers((), {"typing-extensions": "4.12.2"}, "3.13.1", "1.0.0")
    assert [str(one) for one in offered[need.thing]] == ["4.12.2"]


def test_a_runtime_that_asks_for_more_is_a_need_like_others() -> None:
    asked = RuntimeRequirements(python=">=3.12", runtime="^2")
    offered = needs.offers((), {}, "3.13.1", "1.0.0")
    met = {
        need.thing.name: any(need.range.allows(one) for one in offered[need.thing])
        for need in needs.needs((), asked)
    }
    assert met == {"python": True, "bulkhead": False}


def test_an_integration_is_offered_in_the_version_that_the_organization_names() -> None:
    wishes = [
        Dependency(type="Integration", name="crm", version="^3"),
        Dependency(type="Integration", name="Search", version="*", required=False),
    ]
    needed, optional = needs.needs(wishes)
    crm = Integration(name="crm", version="3.1.4")
    offered = needs.offers((crm,), {}, "3.13.1", "1.0.0")
    assert [str(one) for one in offered[needed.thing]] == ["3.1.4"]
    assert needed.range.allows(offered[needed.thing][0])
    assert optional.thing not in offered, "names of integrations are compared as they are"
    assert (needed.required, optional.required) == (True, False)


def test_what_has_no_version_that_can_be_compared_is_as_if_it_were_not_there() -> None:
    offered = needs.offers((), {"odd": "unknown", "dated": "2024.1"}, "3.13.1", "1.0.0")
    assert {thing.name: str(one) for thing, (one,) in offered.items()} == {
        "dated": "2024.1.0",
        "python": "3.13.1",
        "bulkhead": "1.0.0",
    }
    assert needs.semantic("2024.1") is None


@pytest.mark.parametrize(
    ("dependencies", "asked", "field"),
    [
        (["^1", "nonsense"], RuntimeRequirements(), "spec.dependencies[1].version"),
        ([], RuntimeRequirements(python="nonsense"), "spec.runtimeRequirements.python"),
        ([], RuntimeRequirements(runtime="nonsense"), "spec.runtimeRequirements.runtime"),
    ],
    ids=["a dependency's", "the Python's", "the runtime's"],
)
def test_what_is_no_range_is_told_by_its_field(
    dependencies: list[str], asked: RuntimeRequirements, field: str
) -> None:
    wishes = [Dependency(type="Package", name="below", version=one) for one in dependencies]
    with pytest.raises(RangeError, match=re.escape(f"`{field}`")):
        needs.needs(wishes, asked)
