"""The operator dies at each of its writes of a rollout; the next one ends it rightly.

Every kind of version is tried: it ends at the last good version, no share ever goes to what is
bad beyond its step, and the same version is in service after what was wrong with it is mended. One
death of each kind is visited, and all of them with BULKHEAD_EVERY_FAULT=1.
"""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import dropwhile
from pathlib import Path
from typing import Final

import pytest

from tests.integration.reconcile.bad_packages import KINDS, Kind, version
from tests.integration.reconcile.conftest import World
from tests.integration.reconcile.deaths import dies
from tests.integration.reconcile.test_reconcile_rollouts import annotated, asks_for, in_service
from tests.support.deadline import until
from tests.support.fault_proxy import FaultProxy

EVERY: Final = bool(os.environ.get("BULKHEAD_EVERY_FAULT"))
MOST_WRITES: Final = 60
"""More than a rollout takes; the enumeration ends at the first that is not cut short."""

FULL_WEIGHT: Final = 100
SECONDS: Final = 120
"""Within which a bad version must be gone, whatever died."""


@pytest.fixture
async def proxy(world: World, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy(world.control_plane.kubeconfig)
    async with proxy.serving(tmp_path / "proxy.conf"):
        yield proxy


def points(kind: Kind) -> Iterable[int]:
    """Return after how many writes the operator dies."""
    return range(MOST_WRITES) if EVERY else kind.points


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
async def test_a_death_at_any_write_ends_at_the_last_good_version(
    world: World,
    proxy: FaultProxy,
    tmp_path: Path,
    kind: Kind,
    record_property: Callable[[str, object], None],
) -> None:
    async with world.operator():
        await in_service(world, kind.name)
    serving, visited, slowest = "1.0.0", 0, 0.0
    for point in points(kind):
        number = f"2.0.{point}"
        await kind.spoil(world, kind.name, number)
        await asks_for(world, kind.version(number))
        died = await dies(world, proxy, tmp_path / "proxy.conf", kind.version(number), point)
        if EVERY and not died:
            break
        assert died
        started = time.monotonic()
        async with world.operator():
            serving = await settled(world, kind, number, serving)
            slowest = max(slowest, time.monotonic() - started)
            if not kind.good:
                serving = await mended(world, kind, number)
        visited += 1
    assert 0 < visited < MOST_WRITES
    record_property("fault", (kind.name, visited, kind.reason, f"{slowest:.1f}"))


async def settled(world: World, kind: Kind, number: str, serving: str) -> str:
    """Wait for the outcome, and return the version that serves alone then."""
    outcome = {"status": "True"} if kind.good else {"reason": kind.reason}
    live = await world.ready(kind.version(number), seconds=SECONDS, **outcome)
    expected = number if kind.good else serving
    assert live["status"]["version"] == expected
    await until_alone(world, kind.name, expected)
    most = FULL_WEIGHT if kind.good else kind.most
    for shares in followed(world, kind.name):
        assert sum(shares.values()) == FULL_WEIGHT
        assert shares.get(number, 0) <= most
    return expected


async def mended(world: World, kind: Kind, number: str) -> str:
    """Try the same version again after what was wrong is mended, or a corrected one."""
    if kind.mend is None:
        number = number.replace("2.0.", "3.0.")
        wanted = version(kind.name, number)
        await asks_for(world, wanted)
    else:
        wanted = kind.version(number)
        await kind.mend(world, kind.name, number)
        await annotated(world, wanted, "retry", number)
    await world.ready(wanted, seconds=SECONDS, status="True")
    await until_alone(world, kind.name, number)
    return number


def followed(world: World, name: str) -> list[dict[str, int]]:
    """Return the shares of the versions of `support` ever since the first one got any."""
    (pod,) = [pod for pod in world.runtime.pods.values() if pod.namespace == f"org-{name}"]
    shares = (
        {version.version: version.weight for version in route.versions}
        for config in pod.followed
        for route in config.routes
        if route.package == "support"
    )
    return list(dropwhile(lambda one: not sum(one.values()), shares))


async def until_alone(world: World, name: str, number: str) -> None:
    """Wait until one version is loaded and no other."""

    async def alone() -> bool:
        return followed(world, name)[-1] == {number: FULL_WEIGHT}

    await until(alone, f"{name} has {number} alone")
