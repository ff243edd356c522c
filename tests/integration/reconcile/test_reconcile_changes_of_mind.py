"""Versions that are replaced before their runtime has said that it follows them.

Where a version only has to be loaded, it serves from the moment at which the runtime has its files;
the operator learns of it a little later, and until then knows only what it wrote.
"""

from itertools import dropwhile
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from tests.integration.reconcile.bad_packages import version
from tests.integration.reconcile.conftest import SETTINGS, World
from tests.integration.reconcile.deaths import WRITES
from tests.integration.reconcile.test_reconcile_packages import until_loaded
from tests.integration.reconcile.test_reconcile_rollouts import asks_for, in_service
from tests.support.api_observer import Object, path_of
from tests.support.deadline import until
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.running_operator import running
from tests.support.stub_runtime import Pod

QUESTIONS: Final = 3
"""After so many answers of a runtime that is behind, the operator leaves it alone for seconds."""


def the_pod(world: World, name: str) -> Pod:
    (pod,) = [pod for pod in world.runtime.pods.values() if pod.namespace == f"org-{name}"]
    return pod


def shares_since(world: World, name: str, number: str) -> list[dict[str, int]]:
    """Return the shares that the runtime followed since a version had any of them."""
    followed = (
        {one.version: one.weight for route in config.routes for one in route.versions}
        for config in the_pod(world, name).followed
    )
    return list(dropwhile(lambda shares: not shares.get(number), followed))


async def serves(world: World, name: str, number: str) -> None:
    """Let the runtime follow what gives a version its share, without being asked."""

    async def followed() -> bool:
        await world.runtime.look(the_pod(world, name))
        return bool(shares_since(world, name, number))

    await until(followed, f"{number} serves")
    world.runtime.sessions["support", number] = 1


async def serves_unsaid(world: World, manifest: Object, name: str) -> None:
    """Ask for a version that the runtime follows when it was asked for the last time."""
    world.runtime.syncs, before = False, world.runtime.asked
    if await world.api.get(path_of(manifest)) is None:
        await world.api.create(manifest)
    else:
        await asks_for(world, manifest)

    async def left_alone() -> bool:
        return world.runtime.asked >= before + QUESTIONS

    await until(left_alone, "the operator asked in vain")
    await serves(world, name, manifest["spec"]["version"])
    world.runtime.syncs = True


async def test_sessions_of_a_version_that_nobody_has_told_of_stay_with_it(
    operated: World,
) -> None:
    await in_service(operated, "untold")
    await serves_unsaid(operated, version("untold", "2.0.0"), "untold")
    third = version("untold", "3.0.0")
    await asks_for(operated, third)
    await operated.ready(third, status="True", message="3.0.0")
    assert all("2.0.0" in shares for shares in shares_since(operated, "untold", "2.0.0"))
    operated.runtime.sessions.clear()
    await until_loaded(operated, "org-untold", {"support 3.0.0": 100})


NOWHERE: Final[Object] = {"agents": [], "source": {"configMap": {"name": "nowhere"}}}
UNKNOWN: Final[Object] = {"agents": [{"name": "helper", "model": "nobody/large"}]}


@pytest.mark.parametrize(
    ("name", "spec", "reason"),
    [
        pytest.param("first-refused", UNKNOWN, "UnknownProvider", id="one that is refused"),
        pytest.param("first-nowhere", NOWHERE, "SourceNotFound", id="one whose content is away"),
    ],
)
async def test_a_first_version_that_nobody_has_told_of_serves_on_in_place_of(
    operated: World, name: str, spec: Object, reason: str
) -> None:
    await operated.active(name)
    await serves_unsaid(operated, version(name, "1.0.0"), name)
    second = version(name, "2.0.0", **spec)
    await asks_for(operated, second)
    await operated.ready(second, reason=reason)

    async def known() -> bool:
        live = await operated.api.get(path_of(second))
        return live is not None and live["status"]["rollout"]["phase"] == "Complete"

    await until(known, "1.0.0 is known to serve")
    assert all(shares == {"1.0.0": 100} for shares in shares_since(operated, name, "1.0.0"))


@pytest.mark.parametrize("missing", ["controllerrevisions", "pods"])
async def test_sessions_stay_with_what_an_operator_gave_them_that_died_before_it_wrote(
    world: World, tmp_path: Path, missing: str
) -> None:
    name, kubeconfig = f"bereft-of-{missing}", tmp_path / "proxy.conf"
    async with world.operator():
        await in_service(world, name)

    def writes_it(request: web.BaseRequest) -> bool:
        return request.method in WRITES and f"/{missing}" in request.path

    async with FaultProxy(world.control_plane.kubeconfig).serving(kubeconfig) as proxy:
        proxy.fault = Fault(writes_it, status=503)
        async with running(kubeconfig, SETTINGS, runtime_port=world.runtime.port):
            await asks_for(world, version(name, "2.0.0"))
            await serves(world, name, "2.0.0")
    third = version(name, "3.0.0")
    await asks_for(world, third)
    async with world.operator():
        await world.ready(third, status="True", message="3.0.0")
        assert all("2.0.0" in shares for shares in shares_since(world, name, "2.0.0"))
        world.runtime.sessions.clear()
        await until_loaded(world, f"org-{name}", {"support 3.0.0": 100})
