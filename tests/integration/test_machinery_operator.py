"""The whole machinery of one replica, with everything between it and the API server broken."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import kopf
import pytest

from bulkhead_api.names import API_VERSION
from bulkhead_operator.cluster.client import CONNECTIONS, MERGE_PATCH, ApiClient, unfenced
from bulkhead_operator.cluster.credentials import from_kubeconfig
from bulkhead_operator.cluster.port import ObjectKey
from bulkhead_operator.main import Operator
from bulkhead_operator.reconcile.keys import PACKAGE, Key
from bulkhead_operator.settings import Settings
from tests.cluster.control_plane import ControlPlane
from tests.support import api_server
from tests.support.deadline import until
from tests.support.fault_proxy import Fault, FaultProxy, asking, watching
from tests.support.recording_domain import RecordingDomain

RUNTIMES = f"/apis/{API_VERSION}/organizationruntimes"
PACKAGES = f"/apis/{API_VERSION}/namespaces/default/agentpackages"
NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "bulkhead-system"},
}


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("operator")) as control_plane:
        yield control_plane


@pytest.fixture(scope="module")
def prepared() -> list[str]:
    return []


@pytest.fixture
async def client(control_plane: ControlPlane, prepared: list[str]) -> AsyncIterator[ApiClient]:
    async with api_server.connected(control_plane.kubeconfig) as client:
        if not prepared:
            await api_server.install_crds(client)
            await api_server.post(client, NAMESPACE, "/api/v1/namespaces")
            prepared.append("done")
        yield client


@pytest.fixture
async def proxy(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy(control_plane.kubeconfig)
    async with proxy.serving(tmp_path / "proxy.conf"):
        yield proxy


@asynccontextmanager
async def leading(
    kubeconfig: Path, domain: RecordingDomain, *, lease_seconds: float = 30
) -> AsyncIterator[Operator]:
    """Run a replica until it leads and knows everything; end it in order."""
    settings = Settings(
        probes_port=0,
        metrics_port=0,
        lease_duration_seconds=lease_seconds,
        lease_renew_seconds=1,
    )
    operator = Operator(settings, from_kubeconfig(kubeconfig), domain)
    task = asyncio.create_task(operator.run())

    async def synchronized() -> bool:
        if task.done():
            task.result()
        return bool(domain.contexts) and not operator.ready()

    try:
        await until(synchronized, "the replica leads and knows everything")
        yield operator
    finally:
        operator.stop()
        async with asyncio.timeout(60):
            await task


async def _make(client: ApiClient, name: str) -> Key:
    await api_server.post(client, api_server.organization(name), RUNTIMES)
    return Key.organization(name)


async def _change(client: ApiClient, name: str, generation: int) -> None:
    await client.write(
        "PATCH",
        f"{RUNTIMES}/{name}",
        {"spec": {"limits": {"maxQueueSize": generation}}},
        fence=unfenced,
        content_type=MERGE_PATCH,
    )


async def _sees(domain: RecordingDomain, key: Key, generation: int | None) -> None:
    async def seen() -> bool:
        return (key, generation) in domain.seen

    await until(seen, f"{key} is reconciled at generation {generation}")


async def test_what_is_there_and_what_comes_is_reconciled_and_nothing_is_written(
    control_plane: ControlPlane, client: ApiClient
) -> None:
    before = await _make(client, "before")
    domain = RecordingDomain()
    async with leading(control_plane.kubeconfig, domain):
        await _sees(domain, before, 1)
        live = await client.read(f"{RUNTIMES}/before")
        after = await _make(client, "after")
        await _sees(domain, after, 1)
        await api_server.post(client, api_server.package("helper", "default"), PACKAGES)
        await _sees(domain, Key(PACKAGE, "default", "helper"), 1)
        await client.write("DELETE", f"{PACKAGES}/helper", {}, fence=unfenced)
        await _sees(domain, Key(PACKAGE, "default", "helper"), None)
    assert live == await client.read(f"{RUNTIMES}/before")


@pytest.fixture
def without_searches_for_circles() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_searches_for_circles")
async def test_what_was_heard_is_not_held_until_circles_are_searched_for(
    control_plane: ControlPlane, client: ApiClient
) -> None:
    domain = RecordingDomain()

    async def let_go() -> bool:
        held = [one for one in gc.get_objects() if isinstance(one, kopf.Body)]
        return bool(held) and not any(one.spec for one in held)

    async with leading(control_plane.kubeconfig, domain):
        await _sees(domain, await _make(client, "heavy"), 1)
        await until(let_go, "kopf's circles hold no body")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(watching("organizationruntimes"), status=401), id="401"),
        pytest.param(Fault(watching("organizationruntimes"), status=403), id="403"),
        pytest.param(Fault(watching("organizationruntimes"), status=404), id="404"),
        pytest.param(Fault(watching("organizationruntimes"), status=410), id="410 by status"),
        pytest.param(Fault(watching("organizationruntimes"), status=429), id="429"),
        pytest.param(Fault(watching("organizationruntimes"), status=503), id="503"),
        pytest.param(Fault(watching("organizationruntimes"), in_stream=410), id="410 in stream"),
        pytest.param(Fault(watching("organizationruntimes"), in_stream=500), id="500 in stream"),
    ],
)
async def test_hears_again_after_a_watch_was_answered_with(
    fault: Fault, client: ApiClient, proxy: FaultProxy, tmp_path: Path
) -> None:
    name = f"fault-{fault.status}-{fault.in_stream}"
    domain = RecordingDomain()
    async with leading(tmp_path / "proxy.conf", domain) as operator:
        key = await _make(client, name)
        await _sees(domain, key, 1)
        proxy.break_with(fault)

        async def met() -> bool:
            return proxy.hits >= 2

        await until(met, "the fault was met twice")
        await _change(client, name, 2)
        assert operator.alive() == []
        proxy.break_with(None)
        await _sees(domain, key, 2)
        assert len(domain.contexts) == 1, "leadership was kept all along"


async def test_leadership_outlives_a_burst_that_the_api_server_is_slow_with(
    client: ApiClient, proxy: FaultProxy, tmp_path: Path
) -> None:
    lease = "/apis/coordination.k8s.io/v1/namespaces/bulkhead-system/leases/bulkhead-operator"

    async def renewed() -> str:
        return str((await client.read(lease))["spec"]["renewTime"])

    domain = RecordingDomain()
    async with leading(tmp_path / "proxy.conf", domain):
        proxy.fault = Fault(asking("GET", "/secrets/slow"), silent=True)
        cluster = domain.contexts[0].cluster
        slow = ObjectKey("v1", "Secret", "default", "slow")
        async with asyncio.TaskGroup() as group:
            burst = [group.create_task(cluster.get(slow)) for _ in range(2 * CONNECTIONS)]

            async def busy() -> bool:
                return proxy.hits == CONNECTIONS

            await until(busy, "every connection waits for an answer")
            for _ in range(3):
                before = await renewed()

                async def again(former: str = before) -> bool:
                    return await renewed() != former

                await until(again, "the lease is renewed")
            for task in burst:
                task.cancel()
        assert len(domain.contexts) == 1, "leadership was kept all along"


async def test_an_outage_of_the_api_server_ends_the_term_and_never_the_process(
    control_plane: ControlPlane, client: ApiClient
) -> None:
    domain = RecordingDomain()
    async with leading(control_plane.kubeconfig, domain, lease_seconds=6) as operator:
        key = await _make(client, "outage")
        await _sees(domain, key, 1)
        control_plane.kill("kube-apiserver")

        async def lost() -> bool:
            return operator._term is None

        await until(lost, "leadership ends with the lease's validity")
        assert operator.alive() == []
        await asyncio.to_thread(control_plane.restart, "kube-apiserver")
        await _change(client, "outage", 2)
        await _sees(domain, key, 2)


async def test_a_kind_that_is_served_only_later_is_heard_then(
    control_plane: ControlPlane, client: ApiClient, proxy: FaultProxy, tmp_path: Path
) -> None:
    key = await _make(client, "later")
    settings = Settings(probes_port=0, metrics_port=0)
    domain = RecordingDomain()

    def ours_is_asked(request: object) -> bool:
        return "bulkhead.dev" in str(getattr(request, "path", ""))

    proxy.break_with(Fault(ours_is_asked, status=404))
    operator = Operator(settings, from_kubeconfig(tmp_path / "proxy.conf"), domain)
    task = asyncio.create_task(operator.run())

    async def met() -> bool:
        return proxy.hits >= 3

    try:
        await until(met, "our kinds are asked for")
        assert domain.seen == []
        proxy.break_with(None)
        await _sees(domain, key, 1)
    finally:
        operator.stop()
        await task


async def test_a_standby_takes_over_at_once_when_the_leader_leaves(
    control_plane: ControlPlane, client: ApiClient
) -> None:
    first, second = RecordingDomain(), RecordingDomain()
    async with leading(control_plane.kubeconfig, first, lease_seconds=600) as leader:
        settings = Settings(probes_port=0, metrics_port=0)
        standby = Operator(settings, from_kubeconfig(control_plane.kubeconfig), second)
        task = asyncio.create_task(standby.run())

        async def waits() -> bool:
            return not standby.ready()

        await until(waits, "the standby has reached the API server")
        assert second.contexts == []
        leader.stop()

        async def leads() -> bool:
            return bool(second.contexts)

        # Far sooner than the 600 seconds of the leader's lease.
        await until(leads, "the standby leads")
        standby.stop()
        await task
