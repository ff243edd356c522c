"""What the runtime is given to load when packages come, change, break and conflict."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_operator.cluster.port import ObjectKey
from bulkhead_operator.policies.package import Offered
from bulkhead_operator.reconcile.history import KEPT, Recorded, superfluous
from bulkhead_operator.reconcile.selection import Candidate, select
from bulkhead_operator.resources.configuration import BYTES_PER_MAP, Shelf, document_size
from tests.support.blueprints import agent, document, package

NOTHING = Offered()


def recorded(one: PackageDocument, number: int) -> Recorded:
    key = ObjectKey("apps/v1", "ControllerRevision", "org-acme", f"{one.package}-{number}")
    uid = f"uid-{one.package}"
    return Recorded(key, "r", one.package, uid, one.version, one.checksum, number)


def candidate(name: str, version: str, *agents: str, created: str = "1") -> Candidate:
    made = package(name, version, *(agent(one) for one in agents))
    return Candidate(package=made, created=created, wanted=document(made), invalid=None)


def served(*candidates: Candidate) -> dict[str, dict[str, int]]:
    selection = select(candidates, NOTHING, {})
    return {
        route.package: {version.version: version.weight for version in route.versions}
        for route in selection.routes
    }


V1 = document(package("support", "1.0.0", agent("helper")))
BROKEN = replace(
    candidate("support", "2.0.0"),
    wanted=document(package("support", "2.0.0", agent("helper", model="nobody/x"))),
)


def test_a_new_package_gets_all_new_sessions_and_the_first_number() -> None:
    selection = select([candidate("support", "1.0.0", "helper")], NOTHING, {})
    assert [version.weight for version in selection.routes[0].versions] == [100]
    assert [revision.number for revision in selection.revisions] == [1]
    assert selection.verdicts == {"support": None}


def test_a_version_with_sessions_stays_loaded_without_new_ones() -> None:
    changed = replace(
        candidate("support", "2.0.0", "helper"), history=(recorded(V1, 1),), retained=(V1,)
    )
    assert served(changed) == {"support": {"1.0.0": 0, "2.0.0": 100}}


def test_a_broken_version_falls_back_to_the_last_good_one() -> None:
    good = replace(BROKEN, history=(recorded(V1, 1),), fallback=V1)
    selection = select([good], NOTHING, {})
    assert served(good) == {"support": {"1.0.0": 100}}
    verdict = selection.verdicts["support"]
    assert verdict is not None
    assert verdict.reason == "UnknownProvider"
    assert [revision.number for revision in selection.revisions] == [1]


def test_a_broken_package_without_a_past_is_left_out_and_takes_no_name() -> None:
    younger = candidate("other", "1.0.0", "helper", created="2")
    assert served(BROKEN, younger) == {"other": {"1.0.0": 100}}


def test_of_two_packages_with_one_agent_the_older_is_served() -> None:
    older = candidate("zzz", "1.0.0", "helper", created="1")
    younger = candidate("aaa", "1.0.0", "helper", created="2")
    assert served(younger, older) == {"zzz": {"1.0.0": 100}}


def test_a_version_that_comes_back_gets_the_highest_number() -> None:
    second = document(package("support", "2.0.0", agent("helper")))
    back = replace(
        candidate("support", "1.0.0", "helper"), history=(recorded(second, 2), recorded(V1, 1))
    )
    (revision,) = select([back], NOTHING, {}).revisions
    assert (revision.version, revision.number) == ("1.0.0", 3)


def test_selecting_again_changes_nothing() -> None:
    settled = replace(candidate("support", "1.0.0", "helper"), history=(recorded(V1, 4),))
    (revision,) = select([settled], NOTHING, {}).revisions
    assert revision.number == 4


def test_what_the_runtime_refused_is_not_given_to_it_again() -> None:
    refused = {"package_support_1.0.0.json": (V1.checksum, "broken")}
    selection = select([candidate("support", "1.0.0", "helper")], NOTHING, refused)
    assert selection.routes == ()
    verdict = selection.verdicts["support"]
    assert verdict is not None
    assert "broken" in verdict.message


DOCUMENTS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, BYTES_PER_MAP)), max_size=40)


@given(DOCUMENTS)
def test_no_map_is_ever_too_large_and_what_is_in_never_moves(sizes: list[tuple[int, int]]) -> None:
    shelf = Shelf()
    places: dict[str, int] = {}
    for index, (_, size) in enumerate(sizes):
        name = f"{index}.json"
        fits = shelf.put(name, "x" * (size - len(name)))
        found = [slot for slot, documents in enumerate(shelf.maps) if name in documents]
        assert len(found) == int(fits)
        if fits:
            places[name] = found[0]
    for name, slot in places.items():
        assert name in shelf.maps[slot]
    for documents in shelf.maps:
        taken = sum(document_size(name, content) for name, content in documents.items())
        assert taken <= BYTES_PER_MAP


@given(st.integers(0, 30), st.sets(st.integers(0, 29)))
def test_history_keeps_what_is_in_use_and_the_newest_others(count: int, used: set[int]) -> None:
    versions = [
        replace(recorded(V1, number), checksum=str(number)) for number in reversed(range(count))
    ]
    in_use = {str(number) for number in used if number < count}
    gone = {one.checksum for one in superfluous(versions, in_use)}
    assert not gone & in_use
    assert count - len(gone) == max(min(count, KEPT), len(in_use))
    kept = [one.number for one in versions if one.checksum not in gone | in_use]
    assert all(int(one) < number for one in gone for number in kept)
