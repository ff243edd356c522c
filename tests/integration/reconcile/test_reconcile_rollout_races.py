"""What else goes on while a version takes over: another version, dying replicas, an outage."""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.integration.reconcile.bad_packages import CHECKS, version
from tests.integration.reconcile.conftest import SETTINGS, World
from tests.integration.reconcile.test_reconcile_packages import REVISIONS, until_loaded
from tests.integration.reconcile.test_reconcile_rollouts import (
    HOLDING,
    annotated,
    asks_for,
    in_service,
)
from tests.support.api_observer import Object
from tests.support.deadline import until
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.running_operator import running

OUTAGE_SECONDS: Final = 60 if os.environ.get("BULKHEAD_EVERY_FAULT") else 20
"""In any case longer than the operator leads without renewing."""

CANARY: Final = {"healthChecks": CHECKS, "rollout": HOLDING}
FULL_WEIGHT: Final = 100


@pytest.fixture
async def proxy(world: World, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy(world.control_plane.kubeconfig)
    async with proxy.serving(tmp_path / "proxy.conf"):
        yield proxy


async def asked_up_to(world: World, name: str, where: str) -> None:
    """Ask for 2.0.0 and let it come so far."""
    if where == "Load":
        world.runtime.away.add("2.0.0")
    elif where == "HealthCheck":
        world.runtime.undecided.add("2.0.0")
    second = version(name, "2.0.0", **CANARY)
    await asks_for(world, second)
    reasons = {"Load": "Loading", "HealthCheck": "ChecksPending", "Shift": "WaitingForApproval"}
    await world.ready(second, reason=reasons[where])


@pytest.mark.parametrize("where", ["Load", "HealthCheck", "Shift"])
async def test_a_version_that_overtakes_another_is_the_only_one_left(
    operated: World, where: str
) -> None:
    name = f"overtaken-in-{where.lower()}"
    await in_service(operated, name)
    await asked_up_to(operated, name, where)
    third = version(name, "3.0.0", healthChecks=CHECKS)
    await asks_for(operated, third)
    live = await operated.ready(third, status="True", message="3.0.0")
    await until_loaded(operated, f"org-{name}", {"support 3.0.0": 100})
    outcomes = {one["version"]: one["outcome"] for one in live["status"]["history"]}
    assert outcomes["2.0.0"] == "Superseded"


@pytest.mark.parametrize("where", ["Load", "HealthCheck", "Shift"])
async def test_a_bad_version_that_overtakes_another_ends_at_the_last_good_one(
    operated: World, where: str
) -> None:
    name = f"spoiled-in-{where.lower()}"
    await in_service(operated, name)
    await asked_up_to(operated, name, where)
    operated.runtime.unhealthy.add("3.0.0")
    third = version(name, "3.0.0", healthChecks=CHECKS)
    await asks_for(operated, third)
    live = await operated.ready(third, reason="HealthCheckFailed")
    assert live["status"]["version"] == "1.0.0"
    await until_loaded(operated, f"org-{name}", {"support 1.0.0": 100})


async def test_a_rollback_that_a_person_asks_for_wins_against_the_rollout_under_way(
    operated: World,
) -> None:
    await in_service(operated, "called-off")
    await asked_up_to(operated, "called-off", "Shift")
    second = version("called-off", "2.0.0")
    await annotated(operated, second, "rollback-to", "1.0.0")
    await operated.ready(second, status="True", reason="RolledBack")
    await until_loaded(operated, "org-called-off", {"support 1.0.0": 100})


async def test_a_replica_that_dies_in_the_middle_of_a_shift_holds_it_up_and_no_more(
    operated: World,
) -> None:
    await in_service(operated, "mourning")
    await asked_up_to(operated, "mourning", "Shift")
    (pod,) = [one for one in operated.runtime.pods.values() if one.namespace == "org-mourning"]
    path = f"/api/v1/namespaces/org-mourning/pods/{pod.name}?gracePeriodSeconds=0"
    await operated.api.expect("DELETE", path)
    del operated.runtime.pods[pod.address]
    second = version("mourning", "2.0.0", **CANARY)
    await annotated(operated, second, "approve-step", "1")
    await operated.run_pods("org-mourning")
    await operated.ready(second, status="True", message="2.0.0")
    await until_loaded(operated, "org-mourning", {"support 2.0.0": 100})


async def test_what_was_asked_while_the_api_server_was_away_is_done_when_it_is_back(
    world: World, proxy: FaultProxy, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "proxy.conf"
    second = version("outage", "2.0.0", **CANARY)
    async with running(kubeconfig, SETTINGS, runtime_port=world.runtime.port):
        await in_service(world, "outage")
        await asked_up_to(world, "outage", "Shift")
        shares = {"support 1.0.0": 95, "support 2.0.0": 5}
        await until_loaded(world, "org-outage", shares)
        proxy.break_with(Fault(lambda _: True, status=503))
        await annotated(world, second, "approve-step", "1")
        back = time.monotonic() + OUTAGE_SECONDS

        async def over() -> bool:
            return time.monotonic() > back

        await until(over, "the outage is over", seconds=OUTAGE_SECONDS + 5)
        await until_loaded(world, "org-outage", shares)
        proxy.break_with(None)
    async with running(kubeconfig, SETTINGS, runtime_port=world.runtime.port):
        await world.ready(second, status="True", message="2.0.0")
        await until_loaded(world, "org-outage", {"support 2.0.0": 100})


async def _kept(world: World, name: str, number: int) -> list[Object]:
    found: list[Object] = []

    async def so_many() -> bool:
        found[:] = await world.api.items(REVISIONS.format(f"org-{name}"))
        return len(found) == number

    await until(so_many, f"{number} revisions are kept")
    return found


@pytest.mark.parametrize("limit", [1, 3])
async def test_no_more_versions_are_kept_than_the_limit_and_never_less_than_are_needed(
    operated: World, limit: int
) -> None:
    name = f"limit-{limit}"
    bounded = {"healthChecks": CHECKS, "revisionHistoryLimit": limit}
    await in_service(operated, name, **bounded)
    for number in ("2.0.0", "3.0.0", "4.0.0"):
        wanted = version(name, number, **bounded)
        await asks_for(operated, wanted)
        await operated.ready(wanted, status="True", message=number)
    kept = await _kept(operated, name, limit)
    assert max(kept, key=lambda one: one["revision"])["data"]["version"] == "4.0.0"
    operated.runtime.unhealthy.add("5.0.0")
    bad = version(name, "5.0.0", **bounded)
    await asks_for(operated, bad)
    live = await operated.ready(bad, reason="HealthCheckFailed")
    assert live["status"]["version"] == "4.0.0"
    await until_loaded(operated, f"org-{name}", {"support 4.0.0": 100})
    await _kept(operated, name, max(limit, 2))
    await annotated(operated, bad, "rollback-to", "1.0.0")
    await operated.ready(bad, reason="UnknownRevision", message="1.0.0")


async def test_going_back_right_away_to_a_version_that_has_sessions_waits_for_nothing(
    world: World,
) -> None:
    world.runtime.sessions["support", "1.0.0"] = world.runtime.sessions["support", "2.0.0"] = 1
    async with world.operator(usage_seconds=600, resync_seconds=600):
        await in_service(world, "right-away")
        second = version("right-away", "2.0.0")
        await asks_for(world, second)
        await world.ready(second, status="True", message="2.0.0")
        for wish, reason in (("1.0.0", "RolledBack"), (None, "InService"), ("1.0.0", "RolledBack")):
            await annotated(world, second, "rollback-to", wish)
            await world.ready(second, status="True", reason=reason)
