"""The operator dies while a version with an image of its own comes and crashes.

The next one ends at the last good version and leaves no pods of the other. One death is visited,
and all of them with BULKHEAD_EVERY_FAULT=1.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.integration.reconcile.conftest import World
from tests.integration.reconcile.deaths import dies
from tests.integration.reconcile.test_reconcile_dedicated import (
    deployments,
    imaged,
    in_service,
    until_running,
    written,
)
from tests.integration.reconcile.test_reconcile_rollouts import asks_for
from tests.support.api_observer import Object
from tests.support.deadline import until
from tests.support.fault_proxy import FaultProxy

EVERY: Final = bool(os.environ.get("BULKHEAD_EVERY_FAULT"))
MOST_WRITES: Final = 60
SECONDS: Final = 120
CRASHED: Final[Object] = {
    "name": "package",
    "image": "a",
    "imageID": "",
    "ready": False,
    "restartCount": 3,
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 7, "reason": "Error"}},
}


async def crash_when_it_comes(world: World, name: str, number: str) -> None:
    """Let the first pod of a version crash as soon as there is one."""

    async def crashed() -> bool:
        found = (await deployments(world, name)).get(number)
        items = await world.api.items(f"/api/v1/namespaces/org-{name}/pods")
        pods = [
            pod
            for pod in items
            if found is not None
            and pod["metadata"]["labels"].get("bulkhead.dev/package-pods")
            == found["metadata"]["name"]
        ]
        for pod in pods[:1]:
            await written(world, pod, containerStatuses=[CRASHED])
        return bool(pods)

    await until(crashed, f"{number} has a pod", seconds=SECONDS)


async def test_an_image_that_crashes_is_taken_back_wherever_the_operator_dies(
    world: World, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    proxy, kubeconfig = FaultProxy(world.control_plane.kubeconfig), tmp_path / "proxy.conf"
    visited, slowest = 0, 0.0
    async with proxy.serving(kubeconfig):
        async with world.operator():
            await in_service(world, "grave")
        for point in range(MOST_WRITES) if EVERY else (4,):
            second = imaged("grave", f"2.0.{point}")
            await asks_for(world, second)
            crash = asyncio.create_task(crash_when_it_comes(world, "grave", f"2.0.{point}"))
            died = await dies(world, proxy, kubeconfig, second, point)
            started = time.monotonic()
            async with world.operator():
                live = await world.ready(second, seconds=SECONDS, reason="CrashLoop")
                assert live["status"]["version"] == "1.0.0"
                await until_running(world, "grave", "1.0.0")
            await crash
            slowest = max(slowest, time.monotonic() - started)
            if EVERY and not died:
                break
            assert died
            visited += 1
    assert 0 < visited < MOST_WRITES
    record_property("fault", ("crashing image", visited, "CrashLoop", f"{slowest:.1f}"))
