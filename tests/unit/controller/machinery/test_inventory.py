"""The operator's own record, and what its doorbells ring."""

from contextlib import suppress
from typing import Any

import pytest

from bulkhead_api.names import API_VERSION
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.handlers.doorbells import Doorbells
from bulkhead_operator.reconcile.inventory import Inventory
from bulkhead_operator.reconcile.keys import ORGANIZATION, PACKAGE, Key

ACME, GLOBEX = Key.organization("acme"), Key.organization("globex")
HELPER = Key(PACKAGE, "org-acme", "helper")


def body(key: Key, version: int, *, status: dict[str, Any] | None = None, **more: Any) -> Manifest:
    metadata: dict[str, Any] = {
        "name": key.name,
        "resourceVersion": str(version),
        "generation": 1,
        "managedFields": [{"manager": "kubectl"}],
        **more,
    }
    if key.namespace is not None:
        metadata["namespace"] = key.namespace
    found: Manifest = {"apiVersion": API_VERSION, "kind": key.kind, "metadata": metadata}
    return found if status is None else {**found, "status": status}


def claim(namespace: str) -> dict[str, Any]:
    return {"namespace": namespace, "namespaceUID": "u"}


class World:
    def __init__(self) -> None:
        self.inventory = Inventory()
        self.rung: list[Key] = []
        self.forgotten: list[Key] = []
        self.bells = Doorbells(
            self.inventory, self.forgotten.append, self.rung.append, lambda: None
        )

    def event(self, kind: str | None, found: Manifest) -> list[Key]:
        self.rung.clear()
        self.bells.rang({"type": kind, "object": found})
        return list(self.rung)


@pytest.fixture
def world() -> World:
    return World()


def test_a_namespace_belongs_to_whom_the_operator_recorded(world: World) -> None:
    world.event(None, body(ACME, 1, status={"namespace": "org-acme"}))
    assert world.inventory.organization_of("org-acme") is None, "a claim needs the uid"
    world.event("MODIFIED", body(ACME, 2, status=claim("org-acme")))
    assert world.inventory.organization_of("org-acme") == "acme"
    labels = {"bulkhead.dev/organization": "globex"}
    world.event(None, body(HELPER, 3, labels=labels))
    assert world.inventory.organization_of("org-acme") == "acme"
    world.event("DELETED", body(ACME, 4))
    assert world.inventory.organization_of("org-acme") is None


def test_the_first_claim_stands_until_it_is_given_up(world: World) -> None:
    for version, key in enumerate((ACME, GLOBEX), 1):
        found = body(key, version, status=claim("shared"))
        world.event(None, {**found, "spec": {"namespace": "shared"}})
    assert world.inventory.organization_of("shared") == "acme"
    world.event("DELETED", body(ACME, 3))
    assert world.inventory.organization_of("shared") == "globex"


def test_bodies_are_kept_without_managed_fields_and_only_go_forward(world: World) -> None:
    world.event("ADDED", body(ACME, 5))
    assert world.event("MODIFIED", body(ACME, 4)) == []
    kept = world.inventory.organization("acme")
    assert kept is not None
    assert kept["metadata"]["resourceVersion"] == "5"
    assert "managedFields" not in kept["metadata"]


def test_a_package_rings_itself_and_its_organization(world: World) -> None:
    world.event(None, body(ACME, 1, status=claim("org-acme")))
    assert world.event("ADDED", body(HELPER, 2)) == [HELPER, ACME]
    assert world.event("DELETED", body(HELPER, 3)) == [HELPER, ACME]
    assert list(world.inventory.packages("org-acme")) == []


def test_a_claim_rings_what_waits_in_the_namespace(world: World) -> None:
    assert world.event("ADDED", body(HELPER, 1)) == [HELPER]
    assert world.event("ADDED", body(ACME, 2, status=claim("org-acme"))) == [ACME, HELPER]


def test_our_own_write_rings_nothing_and_neither_does_its_echo(world: World) -> None:
    world.event("ADDED", body(ACME, 1, status=claim("org-acme")))
    world.rung.clear()
    world.bells.written(body(ACME, 2, status={**claim("org-acme"), "state": "active"}))
    assert world.rung == []
    assert world.event("MODIFIED", body(ACME, 2, status=claim("org-acme"))) == []


def test_an_echo_rings_nothing_even_when_it_overtakes_the_answer(world: World) -> None:
    world.event("ADDED", body(ACME, 1))
    with world.bells.expecting(ACME.object_key()):
        assert world.event("MODIFIED", body(ACME, 2)) == []
        world.bells.written(body(ACME, 2))
    assert world.rung == []
    assert world.inventory.delivered(ACME) == 2


def test_a_change_during_our_own_write_rings_after_it(world: World) -> None:
    world.event("ADDED", body(ACME, 1))
    with world.bells.expecting(ACME.object_key()):
        assert world.event("MODIFIED", body(ACME, 3, generation=2)) == []
        world.bells.written(body(ACME, 2))
    assert world.rung == [ACME]


def test_a_change_during_a_write_that_fails_rings_all_the_same(world: World) -> None:
    world.event("ADDED", body(ACME, 1))
    with suppress(ConnectionError), world.bells.expecting(ACME.object_key()):
        world.event("MODIFIED", body(ACME, 2))
        raise ConnectionError
    assert world.rung == [ACME]


def test_the_answer_to_a_write_does_not_bring_back_what_was_deleted_meanwhile(
    world: World,
) -> None:
    world.event("ADDED", body(ACME, 1))
    with world.bells.expecting(ACME.object_key()):
        world.event("DELETED", body(ACME, 3))
        world.bells.written(body(ACME, 2))
    assert world.inventory.organization("acme") is None
    assert world.rung == [ACME]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"generation": 2}, id="spec"),
        pytest.param({"deletionTimestamp": "2026-01-01T00:00:00Z"}, id="deletion"),
        pytest.param({"annotations": {"bulkhead.dev/rotate-api-key": "1"}}, id="annotation"),
    ],
)
def test_a_persons_change_that_came_with_our_own_write_rings(
    world: World, change: dict[str, Any]
) -> None:
    world.event("ADDED", body(ACME, 1))
    world.rung.clear()
    world.bells.written(body(ACME, 3, **change))
    assert world.rung == [ACME]


def test_a_stale_deletion_does_not_take_out_a_new_object_of_that_name(world: World) -> None:
    world.event("ADDED", body(ACME, 5))
    assert world.event("DELETED", body(ACME, 4)) == []
    assert world.inventory.organization("acme") is not None


def test_the_metrics_forget_an_object_that_is_gone(world: World) -> None:
    world.event("ADDED", body(ACME, 1))
    assert world.forgotten == []
    world.event("DELETED", body(ACME, 2))
    assert world.forgotten == [ACME]


def test_all_keys_are_those_of_all_kinds(world: World) -> None:
    world.event("ADDED", body(ACME, 1))
    world.event("ADDED", body(HELPER, 2))
    assert world.inventory.all_keys() == [ACME, HELPER]
    assert ACME.kind == ORGANIZATION
