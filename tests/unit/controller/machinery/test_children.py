"""What is remembered of children: verdicts that only go forward."""

from contextlib import suppress
from typing import Any

import pytest

from bulkhead_api.names import FIELD_MANAGER, LABEL_ORGANIZATION
from bulkhead_operator.cluster.children import Children, is_ours
from bulkhead_operator.cluster.kinds import KINDS, Kind
from bulkhead_operator.cluster.port import Manifest, ObjectKey, digest

CONFIGMAP = next(kind for kind in KINDS if kind.name == "ConfigMap")
DEPLOYMENT = next(kind for kind in KINDS if kind.name == "Deployment")
KEY = ObjectKey("v1", "ConfigMap", "org-acme", "one")
WANTED: Manifest = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "one", "namespace": "org-acme", "labels": {LABEL_ORGANIZATION: "acme"}},
    "data": {"a": "1"},
}


def live(version: int, *, value: str = "1", manager: str = FIELD_MANAGER, **more: Any) -> Manifest:
    metadata = {
        **WANTED["metadata"],
        "uid": "u1",
        "resourceVersion": str(version),
        "managedFields": [{"manager": manager}],
        **more,
    }
    return {"metadata": metadata, "data": {"a": value}}


class World:
    def __init__(self) -> None:
        self.wanted: dict[str, dict[ObjectKey, Manifest]] = {"acme": {KEY: WANTED}}
        self.rung: list[str] = []
        self.children = Children(self.wanted.get, self.rung.append)


@pytest.fixture
def world() -> World:
    return World()


def test_the_echo_of_our_own_apply_rings_nothing(world: World) -> None:
    child = world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    world.children.observed(CONFIGMAP, live(5))
    assert world.rung == []
    assert child.contained
    assert child.wanted == digest(WANTED)
    assert world.children.of("acme")[KEY] == child


def test_the_echo_rings_nothing_even_when_it_overtakes_the_answer(world: World) -> None:
    world.children.observed(CONFIGMAP, live(5))
    world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    assert world.rung == []
    assert world.children.of("acme")[KEY].contained


def test_events_wait_for_the_answer_of_a_write_under_way(world: World) -> None:
    with world.children.expecting(KEY):
        world.children.observed(CONFIGMAP, live(5))
        world.children.progressed(CONFIGMAP, 5)
        assert world.children.of("acme") == {}
        world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    assert world.rung == []
    assert world.children.of("acme")[KEY].contained


def test_a_change_during_a_write_under_way_is_taken_in_after_it(world: World) -> None:
    with world.children.expecting(KEY):
        world.children.observed(CONFIGMAP, live(5))
        world.children.observed(CONFIGMAP, live(6, value="drifted"))
        world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    assert world.rung == ["acme"]
    assert not world.children.of("acme")[KEY].contained


def test_a_deletion_during_a_write_under_way_is_not_forgotten(world: World) -> None:
    with world.children.expecting(KEY):
        world.children.observed(CONFIGMAP, live(5))
        world.children.vanished(KEY, 6)
        world.children.progressed(CONFIGMAP, 6)
        world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    assert world.rung == ["acme"]
    assert world.children.of("acme") == {}


def test_what_was_held_back_counts_when_the_write_fails(world: World) -> None:
    with suppress(RuntimeError), world.children.expecting(KEY):
        world.children.observed(CONFIGMAP, live(5, value="drifted"))
        assert world.rung == []
        raise RuntimeError
    assert world.rung == ["acme"]


def test_an_event_older_than_the_last_apply_is_ignored(world: World) -> None:
    world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    world.children.observed(CONFIGMAP, live(4, value="old"))
    assert world.rung == []
    assert world.children.of("acme")[KEY].contained


def test_drift_rings_the_organization(world: World) -> None:
    world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    world.children.observed(CONFIGMAP, live(6, value="drifted"))
    assert world.rung == ["acme"]
    assert not world.children.of("acme")[KEY].contained


def test_a_change_that_concerns_nothing_we_want_rings_nothing(world: World) -> None:
    world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    world.children.observed(CONFIGMAP, live(6, annotations={"a": "person"}))
    assert world.rung == []


def test_a_deletion_rings_and_a_stale_deletion_does_not(world: World) -> None:
    world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    world.children.vanished(KEY, 4)
    assert world.rung == []
    world.children.vanished(KEY, 6)
    assert world.rung == ["acme"]
    assert world.children.of("acme") == {}


def test_a_child_that_begins_to_terminate_rings(world: World) -> None:
    world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    world.children.observed(CONFIGMAP, live(6, deletionTimestamp="2026-01-01T00:00:00Z"))
    assert world.rung == ["acme"]
    assert world.children.of("acme")[KEY].terminating


def test_the_first_list_is_judged_once_it_is_known_what_is_wanted(world: World) -> None:
    world.wanted.clear()
    world.children.observed(CONFIGMAP, live(5))
    assert not world.children.of("acme")[KEY].contained
    assert world.children.of("acme", {KEY: WANTED})[KEY].contained
    other = {**WANTED, "data": {"a": "2"}}
    # Judged once: what differs from the manifest it was compared with shows by the digest.
    assert world.children.of("acme", {KEY: other})[KEY].wanted == digest(WANTED)


def test_a_list_takes_out_what_was_deleted_during_a_gap_but_not_what_is_newer(
    world: World,
) -> None:
    world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    world.children.relisted(CONFIGMAP, set(), 4)
    assert KEY in world.children.of("acme")
    world.children.relisted(CONFIGMAP, set(), 6)
    assert KEY not in world.children.of("acme")
    assert world.rung == ["acme"]


def test_a_list_of_one_kind_leaves_other_kinds_alone(world: World) -> None:
    world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    world.children.relisted(DEPLOYMENT, set(), 9)
    assert KEY in world.children.of("acme")


def test_an_apply_answered_after_the_deletion_was_heard_does_not_bring_the_child_back(
    world: World,
) -> None:
    world.children.progressed(CONFIGMAP, 7)
    world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    assert world.children.of("acme") == {}
    assert world.rung == ["acme"]


def test_a_restored_store_is_noticed_and_its_lower_versions_count(world: World) -> None:
    world.children.applied(CONFIGMAP, live(50), WANTED, "acme")
    world.children.progressed(CONFIGMAP, 60)
    assert world.children.went_back(CONFIGMAP, 10)
    world.children.observed(CONFIGMAP, live(9, value="restored"))
    assert not world.children.of("acme")[KEY].contained


def test_a_label_that_moves_rings_both_organizations(world: World) -> None:
    world.children.applied(CONFIGMAP, live(5), WANTED, "acme")
    world.children.observed(CONFIGMAP, live(6, labels={LABEL_ORGANIZATION: "globex"}))
    assert set(world.rung) == {"acme", "globex"}
    assert world.children.of("acme") == {}


@pytest.mark.parametrize(
    ("metadata", "ours"),
    [
        pytest.param({}, True, id="we applied it"),
        pytest.param({"managedFields": [{"manager": "kubectl"}]}, False, id="we never wrote it"),
        pytest.param(
            {"ownerReferences": [{"apiVersion": "apps/v1", "controller": True}]},
            False,
            id="another controller owns it",
        ),
        pytest.param(
            {"ownerReferences": [{"apiVersion": "bulkhead.dev/v1alpha1", "controller": True}]},
            True,
            id="one of our kinds owns it",
        ),
    ],
)
def test_ours_is_what_we_wrote_and_nobody_else_controls(
    metadata: dict[str, Any], ours: bool
) -> None:
    assert is_ours(live(1, **metadata)) is ours


def test_a_labelled_object_of_somebody_else_is_known_as_not_ours(world: World) -> None:
    world.children.observed(CONFIGMAP, live(5, manager="kubectl"))
    assert world.children.is_ours(KEY) is False
    assert world.children.is_ours(ObjectKey("v1", "ConfigMap", "org-acme", "two")) is None


def _deployment(version: int, available: int) -> Manifest:
    return {
        **live(version, generation=2),
        "status": {
            "observedGeneration": 2,
            "availableReplicas": available,
            "conditions": [
                {"type": "Available", "status": "True", "reason": "R", "message": "m"},
                {"type": "Other", "status": "True"},
            ],
        },
    }


def test_facts_of_a_deployment_ring_when_they_change(world: World) -> None:
    key = ObjectKey("apps/v1", "Deployment", "org-acme", "one")
    world.wanted["acme"][key] = {**WANTED, "kind": "Deployment", "apiVersion": "apps/v1"}
    world.children.observed(DEPLOYMENT, _deployment(5, 0))
    world.children.observed(DEPLOYMENT, _deployment(6, 0))
    world.children.observed(DEPLOYMENT, _deployment(7, 1))
    assert world.rung == ["acme"]
    facts = world.children.of("acme")[key].facts
    assert facts["availableReplicas"] == 1
    assert set(facts["conditions"]) == {"Available"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_secrets_pods_and_events_are_never_watched(kind: Kind) -> None:
    assert kind.watched == (
        kind.name
        not in {
            "Secret",
            "Pod",
            "Event",
            "Lease",
            "OrganizationRuntime",
            "AgentPackage",
            "MemoryPool",
        }
    )
