"""The process as the kubelet sees it: probes, metrics, SIGTERM."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from bulkhead_operator.cluster.client import ApiClient
from tests.cluster.control_plane import ControlPlane
from tests.support import api_server
from tests.support.deadline import until
from tests.support.ports import free_port

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bulkhead-system"}}
LEASE = "/apis/coordination.k8s.io/v1/namespaces/bulkhead-system/leases/bulkhead-operator"


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("process")) as control_plane:
        yield control_plane


async def _get(url: str) -> tuple[int, str]:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()
    except aiohttp.ClientConnectionError:
        return 0, ""


async def test_answers_probes_and_metrics_and_leaves_in_order(control_plane: ControlPlane) -> None:
    async with api_server.connected(control_plane.kubeconfig) as client:
        await api_server.install_crds(client)
        await api_server.post(client, NAMESPACE, "/api/v1/namespaces")
        await _lives_and_leaves(control_plane.kubeconfig, client)


async def _lives_and_leaves(kubeconfig: Path, client: ApiClient) -> None:
    probes, metrics = free_port(), free_port()
    process = api_server.python(
        "-m",
        "bulkhead_operator",
        KUBECONFIG=str(kubeconfig),
        BULKHEAD_PROBES_PORT=str(probes),
        BULKHEAD_METRICS_PORT=str(metrics),
    )
    base = f"http://127.0.0.1:{probes}"

    async def ready() -> bool:
        assert process.poll() is None, process.stdout and process.stdout.read()
        return (await _get(f"{base}/readyz"))[0] == 200 and await leads()

    async def leads() -> bool:
        return "bulkhead_leader 1.0" in await told()

    async def told() -> str:
        return (await _get(f"http://127.0.0.1:{metrics}/metrics"))[1]

    async def watches() -> bool:
        return 'rest_client_requests_total{code="200",method="WATCH"}' in await told()

    try:
        await until(ready, "the process leads and is ready")
        assert (await _get(f"{base}/livez")) == (200, "ok\n")
        assert (await _get(f"{base}/healthz")) == (200, "ok\n")
        assert 'bulkhead_build_info{version="' in await told()
        # It is ready once everything is listed, a moment before it watches.
        await until(watches, "the watches are counted")
    finally:
        process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, 60)
        assert process.stdout is not None
        process.stdout.close()
    assert code == 0
    assert (await client.read(LEASE))["spec"].get("holderIdentity", "") == ""


def test_an_environment_that_does_not_suffice_ends_with_the_remedy() -> None:
    process = api_server.python("-m", "bulkhead_operator")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert b"set KUBECONFIG" in output
    assert b"Traceback" not in output
