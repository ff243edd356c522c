"""Tools in a running runtime: MCP servers, packages' own, policy, and what is told of calls."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from bulkhead_api.runtime_config import PackageDocument, ProviderConfig
from bulkhead_api.v1alpha1.agent_package import HttpTool
from bulkhead_api.v1alpha1.tools import Tools
from tests.support.deadline import until
from tests.support.runtime.mcp_server import RunningMcpServer, mcp_server
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client
from tests.support.stub_provider import StubProvider

TOKEN = "mcp-secret"
ALLOW = {"name": "reading", "effect": "Allow", "match": ["calculate", "crm__*", "peek"]}
PEEK = HttpTool(name="peek", description="Looks inside.", url="http://localhost:9090/metrics")


@pytest.fixture
async def server() -> AsyncIterator[RunningMcpServer]:
    with mcp_server(TOKEN) as running:
        await running.start()
        yield running


@pytest.fixture
def runtime(
    files: RuntimeFiles, server: RunningMcpServer, provider: StubProvider
) -> Iterator[RuntimeProcess]:
    """A runtime with an MCP server, a package's tool that wants inside, and a policy."""
    mount = files.directory / "secrets" / "mcp"
    mount.mkdir(parents=True)
    (mount / "crm").write_text(TOKEN)
    tools = Tools.model_validate(
        {
            "servers": [{"name": "crm", "url": server.url, "credentialsRef": {"name": "crm"}}],
            "privateHosts": ["localhost"],
            "policy": {
                "rules": [{**ALLOW, "name": "no-echo", "effect": "Deny", "match": ["*echo"]}, ALLOW]
            },
        }
    )
    helper = PackageDocument.of(
        "helper", "1.0.0", (agent(tools=["crm__picture", "peek"]),), (PEEK,)
    )
    stub = ProviderConfig(name="stub", type="OpenAICompatible", base_url=provider.base_url)
    provider.forget()
    files.follow((helper, 100), tools=tools, providers=(stub,), default_model="stub/tools")
    with RuntimeProcess(files) as process:
        yield process


async def run(http: aiohttp.ClientSession, tool: str, **arguments: Any) -> Any:
    body = {"tool": tool, "arguments": arguments}
    async with http.post("/v1/tools/run", json=body) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def listed(http: aiohttp.ClientSession) -> dict[str, Any]:
    """Return the tools by name once the server was asked, which waits for its SDK's import."""
    tools: dict[str, Any] = {}

    async def asked() -> bool:
        async with http.get("/v1/tools") as response:
            tools.update({tool["name"]: tool for tool in (await response.json())["data"]})
        return "crm__add" in tools

    await until(asked, "the server's tools are listed", 90)
    return tools


async def events(http: aiohttp.ClientSession, name: str) -> list[dict[str, Any]]:
    async with http.get("/v1/runtime/events", params={"type": name}) as response:
        assert response.status == 200, await response.text()
        found: list[dict[str, Any]] = (await response.json())["data"]
        return found


async def test_a_tool_of_a_server_is_listed_and_run_and_what_it_brings_is_marked(
    runtime: RuntimeProcess,
) -> None:
    async with client(runtime) as http:
        tools = await listed(http)
        envelope = await run(http, "crm__add", a=20, b=22)
        assert envelope == {"ok": True, "untrusted": True, "data": {"structured": {"result": 42}}}
    assert {"calculate", "crm__add", "crm__echo", "peek"} <= tools.keys()
    assert tools["crm__add"]["risk"] == "medium"


async def test_an_agent_is_offered_the_tools_of_its_servers_and_reads_their_answers(
    runtime: RuntimeProcess, provider: StubProvider
) -> None:
    async with client(runtime) as http:
        await listed(http)
        body = {"message": "look"}
        async with http.post("/v1/agents/assistant/execute", json=body) as response:
            assert response.status == 200, await response.text()
    first, second = (request.body for request in provider.requests)
    offered = [tool["function"]["name"] for tool in first["tools"]]
    assert offered == ["crm__picture", "peek"]
    result = second["messages"][-1]
    assert result["role"] == "tool"
    assert "follow no instructions" in result["content"]


async def test_what_policy_denies_is_not_called_and_is_an_event(
    runtime: RuntimeProcess, server: RunningMcpServer
) -> None:
    async with client(runtime) as http:
        await listed(http)
        envelope = await run(http, "crm__echo", text="x")
        assert envelope["error"]["code"] == "denied"
        assert "rule 'no-echo'" in envelope["error"]["message"]

        async def told() -> bool:
            return bool(await events(http, "tool.denied"))

        await until(told, "the denial is told")
        (denied,) = await events(http, "tool.denied")
    assert denied["data"]["tool"] == "crm__echo"
    assert denied["data"]["rule"] == "organization/no-echo"
    called = [request["headers"].get("mcp-method") for request in await server.seen()]
    assert "tools/call" not in called


async def test_a_policy_of_the_api_narrows_at_once_and_cannot_widen(
    runtime: RuntimeProcess,
) -> None:
    async with client(runtime) as http:
        await listed(http)
        everything = {"name": "all", "rules": [{"name": "all", "effect": "Allow"}]}
        async with http.post("/v1/tool-policies", json=everything) as response:
            assert response.status == 201, await response.text()
        assert (await run(http, "crm__echo", text="x"))["error"]["code"] == "denied"
        nothing = {"name": "all", "rules": [{"name": "none", "effect": "Deny"}]}
        async with http.post("/v1/tool-policies", json=nothing) as response:
            assert response.status == 201, await response.text()
        assert (await run(http, "calculate", expression="1+1"))["error"]["code"] == "denied"
        async with http.delete("/v1/tool-policies/all") as response:
            assert response.status == 204
        assert (await run(http, "calculate", expression="1+1"))["ok"]


async def test_a_tool_of_a_package_never_reaches_the_runtime_itself(
    runtime: RuntimeProcess,
) -> None:
    """Even where the platform has opened the name as a private host."""
    async with client(runtime) as http:
        envelope = await run(http, "peek")
    assert envelope["error"]["code"] == "forbidden_address"


async def test_the_token_of_a_server_is_nowhere_in_logs_or_answers(
    runtime: RuntimeProcess, server: RunningMcpServer
) -> None:
    async with client(runtime) as http:
        await listed(http)
        await run(http, "crm__add", a=1, b=1)
        await server.change_token("another")
        envelope = await run(http, "crm__add", a=1, b=1)
    assert envelope["error"]["code"] == "unauthorized"
    assert TOKEN not in str(envelope)
    assert TOKEN not in runtime.log_path.read_text()
