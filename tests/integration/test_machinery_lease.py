"""One leader: takeover, release and fencing on a real API server."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bulkhead_operator.cluster.client import ApiClient, unfenced
from bulkhead_operator.cluster.lease import Lease, LeaseTerms
from bulkhead_operator.errors import Gone, LeaseLost
from tests.cluster.control_plane import ControlPlane
from tests.support import api_server
from tests.support.deadline import until
from tests.support.fault_proxy import Fault, FaultProxy

HOLDER = """
import asyncio, sys
from pathlib import Path
from bulkhead_operator.cluster.lease import Lease, LeaseTerms
from tests.support import api_server
from tests.support.deadline import until

async def main():
    async with api_server.connected(Path(sys.argv[1])) as client:
        lease = Lease(client, LeaseTerms("default", sys.argv[2], "killed", 2, 0.5))
        await lease.acquire()
        print("leads", flush=True)
        await lease.hold()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("lease")) as control_plane:
        yield control_plane


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[ApiClient]:
    async with api_server.connected(control_plane.kubeconfig) as client:
        yield client


def lease(client: ApiClient, name: str, identity: str, duration: float = 2) -> Lease:
    return Lease(client, LeaseTerms("default", name, identity, duration, duration / 4))


async def test_a_killed_leader_is_followed_after_its_lease_has_run_out(
    control_plane: ControlPlane, client: ApiClient
) -> None:
    process = api_server.python("-c", HOLDER, str(control_plane.kubeconfig), "killed")
    assert process.stdout is not None
    said = await asyncio.to_thread(process.stdout.readline)
    assert said == b"leads\n"
    standby = lease(client, "killed", "standby")
    acquiring = asyncio.create_task(standby.acquire())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    killed_at = time.monotonic()
    async with asyncio.timeout(60):
        await acquiring
    assert standby.may_write()
    assert time.monotonic() - killed_at >= 1, "not before the leader's last renewal ran out"


async def test_a_leader_that_is_cut_off_stops_writing_before_another_may_lead(
    control_plane: ControlPlane, client: ApiClient, tmp_path: Path
) -> None:
    proxy = FaultProxy(control_plane.kubeconfig)
    async with (
        proxy.serving(tmp_path / "proxy.conf"),
        api_server.connected(tmp_path / "proxy.conf") as cut_off,
    ):
        leader = lease(cut_off, "cut-off", "leader")
        await leader.acquire()
        holding = asyncio.create_task(leader.hold())
        standby = lease(client, "cut-off", "standby")
        proxy.break_with(Fault(lambda _: True, silent=True))
        async with asyncio.timeout(60):
            await standby.acquire()
        assert not leader.may_write()
        with pytest.raises(LeaseLost):
            leader.remaining()
        with pytest.raises(LeaseLost):
            await holding


async def test_a_leader_stays_while_it_renews(client: ApiClient) -> None:
    # Renewed ten times before it runs out: a machine that stands still for a while loses nothing.
    leader = Lease(client, LeaseTerms("default", "kept", "leader", 5, 0.5))
    await leader.acquire()
    async with api_server.running(leader.hold()):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(6):
                await lease(client, "kept", "standby").acquire()
        assert leader.may_write()


async def test_a_released_lease_is_taken_at_once(client: ApiClient) -> None:
    leader = lease(client, "released", "leader", 60)
    await leader.acquire()
    standby = lease(client, "released", "standby", 60)
    acquiring = asyncio.create_task(standby.acquire())
    await _has_seen_the_lease(standby)
    await leader.release()
    assert not leader.may_write()
    # Far sooner than the 60 seconds of the lease.
    async with asyncio.timeout(30):
        await acquiring
    assert standby.may_write()


async def _has_seen_the_lease(standby: Lease) -> None:
    async def seen() -> bool:
        return standby.heard > 0

    await until(seen, "the standby has seen the lease")


async def test_a_deleted_lease_is_made_anew_by_whoever_leads(client: ApiClient) -> None:
    leader = Lease(client, LeaseTerms("default", "deleted", "leader", 30, 1))
    standby = lease(client, "deleted", "standby", 30)
    await leader.acquire()
    async with (
        api_server.running(leader.hold()) as holding,
        api_server.running(standby.acquire()) as acquiring,
    ):
        await _has_seen_the_lease(standby)
        path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/deleted"
        live = await client.write("DELETE", path, {}, fence=unfenced)
        assert live["status"] == "Success"

        async def made_anew() -> bool:
            return await _holder(client, path) == "leader"

        await until(made_anew, "the lease is there again")
        assert leader.may_write()
        assert not holding.done()
        assert not acquiring.done()


async def _holder(client: ApiClient, path: str) -> str | None:
    try:
        found = await client.read(path)
    except Gone:
        return None
    holder: str = found["spec"]["holderIdentity"]
    return holder
