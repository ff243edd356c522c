"""What the API server has is compared with what was delivered."""

import asyncio

import pytest

from bulkhead_operator.cluster.port import ObjectKey
from bulkhead_operator.cluster.versions import Versions
from bulkhead_operator.deafness import Audit, DeafnessWatch
from bulkhead_operator.errors import ClusterError
from bulkhead_operator.reconcile.inventory import Inventory
from bulkhead_operator.reconcile.keys import ORGANIZATION, Key
from tests.unit.controller.machinery.test_inventory import ACME, body


class World:
    """An API server's lists, a clock, and what was asked for."""

    def __init__(self) -> None:
        self.inventory = Inventory()
        self.live: dict[Key, int] = {}
        self.at = 0
        self.now = 0.0
        self.answers = True
        self.gone: list[Key] = []
        self.restarts = 0
        self.audit = Audit(self.versions, self.inventory, self.gone.append, lambda: self.now)
        self.watch = DeafnessWatch(self.audit, self.restart)

    async def versions(self, kind: str) -> Versions:
        if not self.answers:
            raise ClusterError("Unreachable", "no answer")
        objects: dict[ObjectKey, int] = {
            key.object_key(): version for key, version in self.live.items() if key.kind == kind
        }
        return Versions(at=self.at, objects=objects)

    def restart(self) -> None:
        self.restarts += 1

    def write(self, version: int) -> None:
        self.live[ACME], self.at = version, version

    def deliver(self, version: int) -> None:
        self.inventory.mark_delivered(body(ACME, version))
        self.inventory.remember(body(ACME, version))
        self.audit.delivered.set()


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_version_not_delivered_in_two_audits_asks_for_a_restart(world: World) -> None:
    world.write(5)
    await world.watch.audit()
    assert world.restarts == 0, "it may just be on its way"
    world.now = 60
    await world.watch.audit()
    assert world.restarts == 1
    assert world.watch.restarts_in_vain == 1


async def test_a_busy_object_whose_versions_arrive_is_no_deafness(world: World) -> None:
    for version in range(5, 10):
        world.write(version)
        world.now += 60
        await world.watch.audit()
        world.deliver(version)
    assert world.restarts == 0


async def test_our_own_write_does_not_count_as_delivered(world: World) -> None:
    world.deliver(4)
    world.write(5)
    world.inventory.remember(body(ACME, 5))
    await world.watch.audit()
    world.now = 60
    await world.watch.audit()
    assert world.restarts == 1


async def test_restarts_in_vain_are_counted_until_one_helps(world: World) -> None:
    world.write(5)
    for minute in range(4):
        world.now = minute * 60
        await world.watch.audit()
    assert world.watch.restarts_in_vain == 2
    world.deliver(5)
    await world.watch.audit()
    assert world.watch.restarts_in_vain == 0


async def test_hearing_is_proved_by_the_deliveries_that_follow_an_audit(world: World) -> None:
    for version in range(5, 10):
        world.write(version)
        world.now += 60
        await world.watch.audit()
        world.deliver(version)
    assert world.audit.proved == 240, "what the audit before the last one missed has come"
    world.now = 310
    await world.watch.audit()
    assert world.audit.proved == 310


async def test_nothing_is_proved_while_restarts_do_not_help(world: World) -> None:
    await world.watch.audit()
    world.write(5)
    for minute in range(1, 8):
        world.now = minute * 60
        await world.watch.audit()
    assert world.audit.proved == 0


async def test_an_api_server_that_does_not_answer_proves_nothing(world: World) -> None:
    world.write(5)
    await world.watch.audit()
    world.answers, world.now = False, 60
    await world.watch.audit()
    assert world.restarts == 0


async def test_a_deletion_that_nobody_told_is_found_at_once(world: World) -> None:
    world.deliver(4)
    world.at = 6
    await world.watch.audit()
    assert world.gone == [ACME]
    assert world.inventory.organization("acme") is None


async def test_a_list_older_than_the_object_does_not_take_it_out(world: World) -> None:
    world.deliver(4)
    world.at = 3
    await world.watch.audit()
    assert world.gone == []
    assert world.inventory.organization("acme") is not None


async def test_synchronization_waits_for_the_last_delivery(world: World) -> None:
    world.write(5)
    waiting = asyncio.create_task(world.audit.synchronized())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    world.deliver(5)
    async with asyncio.timeout(60):
        await waiting


async def test_an_empty_cluster_is_synchronized_at_once(world: World) -> None:
    async with asyncio.timeout(60):
        await world.audit.synchronized()
    assert ACME.kind == ORGANIZATION
