"""Whether the API server names our kinds; only the wire is stood in for."""

from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import web

from bulkhead_operator.cluster.client import ApiClient
from bulkhead_operator.cluster.credentials import Credentials
from bulkhead_operator.cluster.discovery import discoverable
from bulkhead_operator.errors import ClusterError
from tests.support.answering import answering

ALL = ("agentpackages", "memorypools", "organizationruntimes", "organizationruntimes/status")


class Discovery:
    """An API server's two documents of discovery."""

    def __init__(self) -> None:
        self.versions = ["apps/v1", "bulkhead.dev/v1alpha1"]
        self.kinds: Sequence[str] = ALL

    async def handle(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/apis":
            named = [{"versions": [{"groupVersion": version}]} for version in self.versions]
            return web.json_response({"groups": named})
        assert request.path == "/apis/bulkhead.dev/v1alpha1"
        return web.json_response({"resources": [{"name": name} for name in self.kinds]})


@pytest.fixture
def discovery() -> Discovery:
    return Discovery()


@pytest.fixture
async def client(discovery: Discovery) -> AsyncIterator[ApiClient]:
    async with (
        answering(discovery.handle) as port,
        ApiClient(Credentials(f"http://127.0.0.1:{port}"), user_agent="test") as client,
    ):
        yield client


async def test_kinds_that_are_named_are_discoverable(client: ApiClient) -> None:
    await discoverable(client)


@pytest.mark.parametrize("late", ["agentpackages", "memorypools", "organizationruntimes"])
async def test_a_kind_that_is_named_late_is_waited_for(
    client: ApiClient, discovery: Discovery, late: str
) -> None:
    discovery.kinds = [kind for kind in ALL if kind != late]
    with pytest.raises(ClusterError, match=f"does not name {late} yet"):
        await discoverable(client)


async def test_a_group_that_is_listed_late_is_waited_for(
    client: ApiClient, discovery: Discovery
) -> None:
    discovery.versions = ["apps/v1"]
    with pytest.raises(ClusterError, match=r"does not name bulkhead\.dev/v1alpha1 yet"):
        await discoverable(client)
