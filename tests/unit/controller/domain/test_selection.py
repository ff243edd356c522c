"""What the runtime is given to load when packages come, change, break and conflict."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.runtime_state import LoadedVersion, RuntimeState
from bulkhead_api.v1alpha1.package_rollout import Rollout
from bulkhead_operator.cluster.port import ObjectKey
from bulkhead_operator.packages.asked import Asked
from bulkhead_operator.packages.record import Record
from bulkhead_operator.packages.reports import Reports
from bulkhead_operator.packages.rollout import Phase, Progress, VersionId
from bulkhead_operator.reconcile.candidate import Candidate
from bulkhead_operator.reconcile.history import KEPT, Recorded, superfluous
from bulkhead_operator.reconcile.selection import Selection, Surroundings, select
from bulkhead_operator.resources.configuration import BYTES_PER_MAP, Shelf, document_size
from tests.support.blueprints import agent, document, package

NOW = 1000


def recorded(one: PackageDocument, number: int) -> Recorded:
    key = ObjectKey("apps/v1", "ControllerRevision", "org-acme", f"{one.package}-{number}")
    uid = f"uid-{one.package}"
    return Recorded(key, "r", one.package, uid, one.version, one.checksum, number)


def identity(one: PackageDocument) -> VersionId:
    return VersionId(one.version, one.checksum)


def in_service(one: PackageDocument) -> Record:
    return Record(Progress(identity(one), None, Phase.COMPLETE, 0, weight=100))


def candidate(
    name: str,
    version: str,
    *agents: Mapping[str, Any],
    created: str = "1",
    former: tuple[PackageDocument, ...] = (),
    record: Record | None = None,
) -> Candidate:
    made = package(name, version, *(dict(one) for one in agents))
    wanted = document(made)
    known = (*former, wanted) if record and record.progress.target == identity(wanted) else former
    return Candidate(
        package=made,
        created=created,
        asked=Asked(identity(wanted)),
        record=record,
        history=[recorded(one, number) for number, one in reversed([*enumerate(known, 1)])],
        documents={one.checksum: one for one in (*former, wanted)},
        retained=former,
    )


def reporting(selection: Selection) -> Reports:
    """Return what one replica says that has loaded what was selected."""
    versions = tuple(
        LoadedVersion(
            package=route.package,
            version=one.version,
            checksum=one.checksum,
            weight=one.weight,
        )
        for route in selection.routes
        for one in route.versions
    )
    state = RuntimeState(
        organization="acme",
        runtime_id="rt",
        runtime_version="1.0.0",
        configuration_hash="h",
        versions=versions,
    )
    return Reports({"pod": state})


def followed(
    *candidates: Candidate, rounds: int = 2, refused: Mapping[str, tuple[str, str]] | None = None
) -> tuple[dict[str, dict[str, int]], Selection]:
    """Return the shares after a runtime loaded what was selected, so many times."""
    found, reports = list(candidates), Reports({})
    for _ in range(rounds):
        around = Surroundings(reports=reports, now=NOW, refused=refused or {})
        selection = select(found, around)
        found = [replace(one, record=selection.decided[one.name].record) for one in found]
        reports = reporting(selection)
    shares = {
        route.package: {version.version: version.weight for version in route.versions}
        for route in selection.routes
    }
    return shares, selection


V1 = document(package("support", "1.0.0", agent("helper")))
BROKEN = agent("helper", model="nobody/x")


def test_a_new_package_is_loaded_first_and_then_gets_all_new_sessions() -> None:
    new = candidate("support", "1.0.0", agent("helper"))
    assert followed(new, rounds=1)[0] == {"support": {"1.0.0": 0}}
    shares, selection = followed(new)
    assert shares == {"support": {"1.0.0": 100}}
    assert [(one.number, one.delivery.outcome) for one in selection.revisions] == [(1, "Succeeded")]


def test_a_version_with_sessions_stays_loaded_without_new_ones() -> None:
    changed = candidate("support", "2.0.0", agent("helper"), former=(V1,), record=in_service(V1))
    assert followed(changed, rounds=1)[0] == {"support": {"1.0.0": 100, "2.0.0": 0}}
    assert followed(changed)[0] == {"support": {"1.0.0": 0, "2.0.0": 100}}


def test_sessions_of_an_old_version_move_on_at_the_drain_deadline() -> None:
    changed = candidate("support", "2.0.0", agent("helper"), former=(V1,), record=in_service(V1))
    spec = changed.package.spec.model_copy(update={"rollout": Rollout(drain_deadline_seconds=0)})
    impatient = replace(changed, package=changed.package.model_copy(update={"spec": spec}))
    assert followed(impatient)[0] == {"support": {"2.0.0": 100}}


def test_a_broken_version_leaves_the_good_one_alone_and_is_never_loaded() -> None:
    broken = candidate("support", "2.0.0", BROKEN, former=(V1,), record=in_service(V1))
    shares, selection = followed(broken)
    assert shares == {"support": {"1.0.0": 100}}
    decided = selection.decided["support"]
    assert decided.violation is not None
    assert decided.violation.reason == "UnknownProvider"
    assert [revision.number for revision in selection.revisions] == [1]


def test_a_first_version_under_way_goes_on_while_what_follows_it_is_refused() -> None:
    loading = Record(Progress(identity(V1), None, Phase.LOAD, NOW, started_at=NOW))
    broken = candidate("support", "2.0.0", BROKEN, former=(V1,), record=loading)
    shares, selection = followed(broken)
    decided = selection.decided["support"]
    assert shares == {"support": {"1.0.0": 100}}
    assert decided.violation is not None
    assert decided.record is not None
    assert decided.record.progress.target == identity(V1)
    assert decided.record.progress.phase is Phase.COMPLETE


def test_a_version_that_would_replace_another_is_held_while_what_follows_it_is_refused() -> None:
    second = document(package("support", "2.0.0", agent("helper")))
    loading = Record(Progress(identity(second), identity(V1), Phase.LOAD, NOW, started_at=NOW))
    broken = candidate("support", "3.0.0", BROKEN, former=(V1, second), record=loading)
    shares, selection = followed(broken)
    assert shares == {"support": {"1.0.0": 100, "2.0.0": 0}}
    decided = selection.decided["support"]
    assert decided.record is not None
    assert decided.record.progress.phase is Phase.LOAD


def test_a_broken_package_without_a_past_is_left_out_and_takes_no_name() -> None:
    broken = candidate("support", "2.0.0", BROKEN)
    younger = candidate("other", "1.0.0", agent("helper"), created="2")
    assert followed(broken, younger)[0] == {"other": {"1.0.0": 100}}


def test_of_two_new_packages_with_one_agent_the_older_is_served() -> None:
    older = candidate("zzz", "1.0.0", agent("helper"), created="1")
    younger = candidate("aaa", "1.0.0", agent("helper"), created="2")
    assert followed(younger, older)[0] == {"zzz": {"1.0.0": 100}}


def test_an_older_package_takes_no_agent_from_a_younger_one_in_service() -> None:
    younger = candidate("support", "1.0.0", agent("helper"), created="2", record=in_service(V1))
    older = candidate("elder", "1.0.0", agent("helper"), created="1")
    shares, selection = followed(older, younger)
    assert shares == {"support": {"1.0.0": 100}}
    violation = selection.decided["elder"].violation
    assert violation is not None
    assert violation.reason == "NameConflict"


def test_a_version_that_comes_back_gets_the_highest_number() -> None:
    second = document(package("support", "2.0.0", agent("helper")))
    back = replace(
        candidate("support", "1.0.0", agent("helper"), former=(second,)),
        history=(recorded(second, 2), recorded(V1, 1)),
        record=in_service(second),
    )
    _, selection = followed(back)
    numbers = {one.version: one.number for one in selection.revisions}
    assert numbers == {"1.0.0": 3, "2.0.0": 2}


def test_selecting_again_changes_nothing() -> None:
    settled = replace(
        candidate("support", "1.0.0", agent("helper"), record=in_service(V1)),
        history=(recorded(V1, 4),),
    )
    first, second = followed(settled, rounds=1)[1], followed(settled, rounds=3)[1]
    assert first.routes == second.routes
    assert first.decided["support"].record == second.decided["support"].record
    assert [revision.number for revision in second.revisions] == [4]


def test_what_the_runtime_refused_is_taken_back_and_not_given_to_it_again() -> None:
    refused = {"package_support_1.0.0.json": (V1.checksum, "broken")}
    shares, selection = followed(candidate("support", "1.0.0", agent("helper")), refused=refused)
    assert shares == {}
    violation = selection.decided["support"].violation
    assert violation is not None
    assert "broken" in violation.message


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
