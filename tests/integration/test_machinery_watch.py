"""The watches of children find what happened while they could not hear."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from bulkhead_operator.cluster.client import MERGE_PATCH, ApiClient, unfenced
from bulkhead_operator.cluster.kinds import KINDS
from bulkhead_operator.cluster.port import ObjectKey
from bulkhead_operator.cluster.watch import KindWatch
from tests.cluster.control_plane import ControlPlane
from tests.support import api_server
from tests.support.api_server import Wiring, configmap, running
from tests.support.deadline import until
from tests.support.fault_proxy import Fault, FaultProxy, watching

CONFIGMAP = next(kind for kind in KINDS if kind.name == "ConfigMap")
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("watch")) as control_plane:
        yield control_plane


@pytest.fixture
async def proxy(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy(control_plane.kubeconfig)
    async with proxy.serving(tmp_path / "proxy.conf"):
        yield proxy


@pytest.fixture
async def direct(control_plane: ControlPlane) -> AsyncIterator[ApiClient]:
    async with api_server.connected(control_plane.kubeconfig) as client:
        yield client


@pytest.fixture
async def wiring(proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[Wiring]:
    async with api_server.connected(tmp_path / "proxy.conf") as client:
        yield Wiring(client)


async def _drift(direct: ApiClient, name: str, value: str) -> None:
    await direct.write(
        "PATCH",
        f"{CONFIGMAPS}/{name}",
        {"data": {"key": value}},
        fence=unfenced,
        content_type=MERGE_PATCH,
    )


async def _delete(direct: ApiClient, name: str) -> None:
    await direct.write("DELETE", f"{CONFIGMAPS}/{name}", {}, fence=unfenced)


def _drifted(wiring: Wiring, organization: str, name: str) -> Callable[[], Awaitable[bool]]:
    async def drifted() -> bool:
        child = wiring.children.of(organization).get(ObjectKey("v1", "ConfigMap", "default", name))
        return child is not None and not child.contained

    return drifted


def _absent(wiring: Wiring, organization: str, name: str) -> Callable[[], Awaitable[bool]]:
    async def absent() -> bool:
        return ObjectKey("v1", "ConfigMap", "default", name) not in wiring.children.of(organization)

    return absent


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(watching("configmaps"), status=401), id="401"),
        pytest.param(Fault(watching("configmaps"), status=404), id="404"),
        pytest.param(Fault(watching("configmaps"), status=410), id="410 by status"),
        pytest.param(Fault(watching("configmaps"), status=503), id="503"),
        pytest.param(Fault(watching("configmaps"), in_stream=410), id="410 in stream"),
        pytest.param(Fault(watching("configmaps"), in_stream=500), id="500 in stream"),
    ],
)
async def test_finds_what_changed_and_what_was_deleted_while_answered_with(
    fault: Fault, wiring: Wiring, proxy: FaultProxy, direct: ApiClient
) -> None:
    name = f"fault-{fault.status}-{fault.in_stream}"
    changed, deleted = configmap(f"{name}-changed", name), configmap(f"{name}-deleted", name)
    wiring.want(name, changed, deleted)
    watch = KindWatch(wiring.client, CONFIGMAP, wiring.children)
    async with running(watch.run()) as task:
        await watch.synced.wait()
        for wanted in (changed, deleted):
            await wiring.cluster.apply(wanted, name)
        proxy.break_with(fault)

        async def met() -> bool:
            return proxy.hits >= 2

        await until(met, "the fault was met twice")
        await _drift(direct, changed["metadata"]["name"], "drifted")
        await _delete(direct, deleted["metadata"]["name"])
        proxy.break_with(None)
        await until(_drifted(wiring, name, changed["metadata"]["name"]), "the change is found")
        await until(_absent(wiring, name, deleted["metadata"]["name"]), "the deletion is found")
        assert name in wiring.rung
        assert not task.done()


async def test_goes_on_after_the_api_server_was_killed_and_came_back(
    control_plane: ControlPlane, direct: ApiClient
) -> None:
    wiring = Wiring(direct)
    wanted = configmap("restart", "restart")
    wiring.want("restart", wanted)
    watch = KindWatch(direct, CONFIGMAP, wiring.children)
    async with running(watch.run()):
        await watch.synced.wait()
        await wiring.cluster.apply(wanted, "restart")
        control_plane.kill("kube-apiserver")
        await asyncio.to_thread(control_plane.restart, "kube-apiserver")
        await _drift(direct, "restart", "drifted")
        await until(_drifted(wiring, "restart", "restart"), "the drift is found")


async def test_an_object_larger_than_any_read_buffer_is_taken_in(
    control_plane: ControlPlane, direct: ApiClient
) -> None:
    wiring = Wiring(direct)
    wanted = configmap("large", "large", key="x" * 900_000)
    wiring.want("large", wanted)
    watch = KindWatch(direct, CONFIGMAP, wiring.children)
    async with running(watch.run()):
        await watch.synced.wait()
        await wiring.cluster.apply(wanted, "large")
        await _drift(direct, "large", "y" * 900_000)
        await until(_drifted(wiring, "large", "large"), "the drift is found")
