"""Packages that can only be upgraded together: at once, or not at all."""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.reconcile.bad_packages import CHECKS
from tests.integration.reconcile.conftest import World, package
from tests.integration.reconcile.deaths import dies
from tests.integration.reconcile.test_reconcile_packages import until_loaded
from tests.integration.reconcile.test_reconcile_rollouts import asks_for
from tests.support.api_observer import Object
from tests.support.fault_proxy import FaultProxy

FULL_WEIGHT: Final = 100
DEATHS: Final = range(24) if os.environ.get("BULKHEAD_EVERY_FAULT") else (3, 8)
BEFORE: Final = {"above 1.0.0": 100, "below 1.0.0": 100}
AFTER: Final = {"above 2.0.0": 100, "below 2.0.0": 100}


def above(name: str, number: str, **spec: Any) -> Object:
    """Return the package that needs `below` in the same major version."""
    manifest = package(f"org-{name}", "above", number, above={"instructions": number})
    need = {"type": "Package", "name": "below", "version": f"^{number.partition('.')[0]}"}
    manifest["spec"] |= {"dependencies": [need], "healthChecks": CHECKS, **spec}
    return manifest


def below(name: str, number: str) -> Object:
    manifest = package(f"org-{name}", "below", number, below={"instructions": number})
    manifest["spec"]["healthChecks"] = CHECKS
    return manifest


async def both_in_service(world: World, name: str) -> None:
    await world.active(name)
    for manifest in (below(name, "1.0.0"), above(name, "1.0.0")):
        await world.api.create(manifest)
        await world.ready(manifest, status="True")


def serving(world: World, name: str) -> list[dict[str, str]]:
    """Return which version of each package had all new sessions, in every configuration."""
    (pod,) = [one for one in world.runtime.pods.values() if one.namespace == f"org-{name}"]
    return [
        {
            route.package: version.version
            for route in config.routes
            for version in route.versions
            if version.weight == FULL_WEIGHT
        }
        for config in pod.followed
    ]


@pytest.mark.parametrize("first", ["above", "below"])
async def test_two_that_need_each_other_take_over_in_the_same_moment(
    operated: World, first: str
) -> None:
    name = f"joint-{first}-first"
    await both_in_service(operated, name)
    wanted = [above(name, "2.0.0"), below(name, "2.0.0")]
    for manifest in wanted if first == "above" else reversed(wanted):
        await asks_for(operated, manifest)
    for manifest in wanted:
        await operated.ready(manifest, status="True", message="2.0.0")
    await until_loaded(operated, f"org-{name}", AFTER)
    for former, now in pairwise(serving(operated, name)):
        if former.get("above") == "1.0.0" and now != former:
            assert now == {"above": "2.0.0", "below": "2.0.0"}


async def test_when_one_of_them_fails_neither_takes_over(operated: World) -> None:
    await both_in_service(operated, "joint-bad")
    operated.runtime.unhealthy.add("2.0.1")
    good, bad = below("joint-bad", "2.0.0"), above("joint-bad", "2.0.1")
    await asks_for(operated, good)
    await asks_for(operated, bad)
    await operated.ready(bad, reason="HealthCheckFailed")
    await operated.ready(good, reason="DependencyNotMet", message="above 1.0.0")
    await until_loaded(operated, "org-joint-bad", BEFORE)
    assert all(one.get("below") != "2.0.0" for one in serving(operated, "joint-bad"))


async def test_an_operator_that_dies_in_between_leaves_both_or_none_in_the_end(
    world: World, tmp_path: Path
) -> None:
    async with world.operator():
        await both_in_service(world, "joint-mortal")
    proxy = FaultProxy(world.control_plane.kubeconfig)
    async with proxy.serving(tmp_path / "proxy.conf"):
        for point in DEATHS:
            number = f"{point + 2}.0.0"
            wanted = [above("joint-mortal", number), below("joint-mortal", number)]
            for manifest in wanted:
                await asks_for(world, manifest)
            await dies(world, proxy, tmp_path / "proxy.conf", wanted[0], point)
            async with world.operator():
                for manifest in wanted:
                    await world.ready(manifest, status="True", message=number)
                both = {f"above {number}": 100, f"below {number}": 100}
                await until_loaded(world, "org-joint-mortal", both)


async def test_steps_are_refused_where_two_can_only_go_together(operated: World) -> None:
    await both_in_service(operated, "joint-steps")
    steps = {"strategy": "Canary", "steps": [{"weight": 5}]}
    stepping = above("joint-steps", "2.0.0", rollout=steps)
    await asks_for(operated, below("joint-steps", "2.0.0"))
    await asks_for(operated, stepping)
    await operated.ready(stepping, reason="DependencyNotMet", message="take 'AllAtOnce'")
    await until_loaded(operated, "org-joint-steps", BEFORE)
