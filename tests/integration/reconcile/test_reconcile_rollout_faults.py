"""The operator dies at each of its writes of a rollout; the next one ends it rightly.

Between two writes nothing is kept but what was written, so these are all the states that a death
can leave. Every third is visited, and all of them with BULKHEAD_EVERY_FAULT=1.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from tests.integration.reconcile.conftest import SETTINGS, World, condition_of
from tests.integration.reconcile.test_reconcile_packages import until_loaded
from tests.integration.reconcile.test_reconcile_rollouts import (
    CHECKS,
    asks_for,
    in_service,
    version,
)
from tests.support.api_observer import Object, path_of
from tests.support.deadline import until
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.running_operator import running

WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
MOST_WRITES: Final = 40
"""More than a rollout takes; the enumeration ends at the first that is not cut short."""
STRIDE: Final = 1 if os.environ.get("BULKHEAD_EVERY_FAULT") else 3


class Death:
    """Lets so many writes through and no more."""

    def __init__(self, writes: int) -> None:
        self.left = writes
        self.came = False

    def __call__(self, request: web.BaseRequest) -> bool:
        bookkeeping = "/leases" in request.path or "/events" in request.path
        if request.method not in WRITES or bookkeeping:
            return False
        self.left -= 1
        self.came = self.came or self.left < 0
        return self.left < 0


@pytest.fixture
async def proxy(world: World, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy(world.control_plane.kubeconfig)
    async with proxy.serving(tmp_path / "proxy.conf"):
        yield proxy


async def dies(
    world: World, proxy: FaultProxy, kubeconfig: Path, manifest: Object, after: int
) -> bool:
    """Run an operator that dies after so many writes; tells whether it came so far."""
    death = Death(after)
    proxy.fault = Fault(death, status=503)

    async def ended() -> bool:
        live = await world.api.get(path_of(manifest))
        assert live is not None
        seen = live["status"]["observedGeneration"] == live["metadata"]["generation"]
        done = condition_of(live, "Reconciling") == {}
        return death.came or (seen and done)

    async with running(kubeconfig, SETTINGS, runtime_port=world.runtime.port):
        await until(ended, "the operator died or was done", seconds=25)
    proxy.fault = None
    return death.came


@pytest.mark.parametrize(
    ("name", "good"),
    [
        pytest.param("mortal", True, id="a good version"),
        pytest.param("fallible", False, id="a bad version"),
    ],
)
async def test_a_death_at_any_write_ends_at_the_last_good_version(
    world: World, proxy: FaultProxy, tmp_path: Path, name: str, good: bool
) -> None:
    async with world.operator():
        await in_service(world, name, healthChecks=CHECKS)
    serving, last = "1.0.0", 0
    steps = [{"weight": 50, "pauseSeconds": 0}]
    for last in range(0, MOST_WRITES, STRIDE):
        number = f"2.0.{last}"
        if not good:
            world.runtime.unhealthy.add(number)
        rollout = {"strategy": "Canary", "steps": steps}
        wanted = version(name, number, healthChecks=CHECKS, rollout=rollout)
        await asks_for(world, wanted)
        died = await dies(world, proxy, tmp_path / "proxy.conf", wanted, after=last)
        async with world.operator():
            outcome = {"status": "True"} if good else {"reason": "HealthCheckFailed"}
            await world.ready(wanted, **outcome)
            serving = number if good else serving
            await until_loaded(world, f"org-{name}", {f"support {serving}": 100})
        if not died:
            break
    assert 4 < last < MOST_WRITES - STRIDE
