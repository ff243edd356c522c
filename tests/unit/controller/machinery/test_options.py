"""What every write tells the API server beside the object; only the wire is stood in for."""

from aiohttp import web

from bulkhead_api.names import API_VERSION
from bulkhead_operator.cluster.client import ApiClient
from bulkhead_operator.cluster.credentials import Credentials
from bulkhead_operator.cluster.port import Manifest, ObjectKey
from tests.support.answering import answering
from tests.support.api_server import Wiring, configmap


async def test_no_write_has_the_api_server_look_for_warnings_that_nobody_reads() -> None:
    asked: list[tuple[str, str | None]] = []
    live: Manifest = configmap("one")
    live["metadata"] |= {"uid": "uid", "resourceVersion": "1"}

    async def handle(request: web.BaseRequest) -> web.Response:
        await request.read()
        asked.append((request.method, request.query.get("fieldValidation")))
        return web.json_response(live)

    child = ObjectKey.of(live)
    runtime = ObjectKey(API_VERSION, "OrganizationRuntime", None, "acme")
    async with answering(handle) as port:
        server = Credentials(f"http://127.0.0.1:{port}")
        async with ApiClient(server, user_agent="bulkhead-operator/1") as client:
            cluster = Wiring(client).cluster
            await cluster.apply(configmap("one"), "acme", fresh=True)
            await cluster.create(configmap("one"))
            await cluster.patch(child, {"data": {}})
            await cluster.patch_status(runtime, "uid", {})
            await cluster.add_finalizer(runtime, "uid")
    assert asked == [
        ("PATCH", "Ignore"),
        ("POST", "Ignore"),
        ("PATCH", "Ignore"),
        ("PATCH", "Ignore"),
        ("PATCH", "Ignore"),
    ]
