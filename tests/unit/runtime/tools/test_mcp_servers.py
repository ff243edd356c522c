"""MCP servers as sources of tools, against a real server process of the official SDK."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkhead_runtime.tools.mcp.endpoint import LEGACY, Endpoint
from bulkhead_runtime.tools.mcp.sdk import MAX_ANSWER_BYTES, call_tool
from bulkhead_runtime.tools.mcp.servers import FIRST_ANSWER_SECONDS
from bulkhead_runtime.tools.port import ToolEnvelope
from tests.support.deadline import until
from tests.support.hostile_mcp import HostileMcp, hostile_mcp
from tests.support.runtime.mcp_server import RunningMcpServer, mcp_server
from tests.support.tool_homes import ToolHome, tool_context, tool_home

TOKEN = "mcp-secret-1"
REFERENCE = {"name": "crm-secret", "key": "token"}


@pytest.fixture
async def server() -> AsyncIterator[RunningMcpServer]:
    with mcp_server(TOKEN) as running:
        await running.start()
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets" / "mcp"
    folder.mkdir(parents=True)
    file = folder / "crm"
    file.write_text(TOKEN)
    return file


@pytest.fixture
async def home(tmp_path: Path, token_file: Path) -> AsyncIterator[ToolHome]:
    home = tool_home(tmp_path)
    yield home
    await home.registry.aclose()


def follow(home: ToolHome, url: str, **fields: Any) -> None:
    configured = {"name": "crm", "url": url, "credentialsRef": REFERENCE, **fields}
    home.configure(servers=[configured])


async def answered(home: ToolHome, *tools: str) -> None:
    """Have the server asked until it answers, which a turn waits for no longer than it may."""

    async def known() -> bool:
        await home.registry.prepare(tools or None)
        offered = any(tool.source == "mcp:crm" for tool in home.registry.list())
        return offered or "crm" in home.registry.failures

    await until(known, "the server has answered")


async def call(home: ToolHome, tool: str, **arguments: Any) -> ToolEnvelope:
    await answered(home)
    return await home.registry.run(f"crm__{tool}", arguments, tool_context())


def code(envelope: ToolEnvelope) -> str:
    return envelope.error.code if envelope.error else "ok"


async def test_what_a_server_offers_is_learnt_when_it_is_needed(
    home: ToolHome, server: RunningMcpServer
) -> None:
    follow(home, server.url, risk="high", toolRisks=[{"tool": "add", "risk": "low"}])
    assert await server.seen() == []
    assert home.registry.get("crm__add") is None
    await answered(home, "crm__add", "calculate")
    add = home.registry.get("crm__add")
    assert add is not None
    assert (add.risk, add.idempotent, add.description) == ("low", True, "Add two numbers.")
    assert add.parameters["required"] == ["a", "b"]
    names = [tool.name for tool in home.registry.list() if tool.name.startswith("crm__")]
    offered = ("add", "big", "echo", "fail", "picture", "trace", "wait")
    assert names == [f"crm__{name}" for name in offered]
    echo = home.registry.get("crm__echo")
    assert echo is not None
    assert (echo.risk, echo.idempotent) == ("high", False)


async def test_what_is_known_is_not_asked_for_again(
    home: ToolHome, server: RunningMcpServer
) -> None:
    follow(home, server.url)
    await answered(home)
    asked = len(await server.seen())
    await home.registry.prepare(["crm__add"])
    follow(home, server.url)
    await answered(home)
    assert len(await server.seen()) == asked


async def test_a_call_is_one_request_that_carries_the_token(
    home: ToolHome, server: RunningMcpServer
) -> None:
    follow(home, server.url)
    await answered(home)
    before = len(await server.seen())
    envelope = await call(home, "add", a=2, b=3)
    assert envelope.data == {"structured": {"result": 5}}
    assert envelope.untrusted
    (request,) = (await server.seen())[before:]
    assert request["headers"]["authorization"] == f"Bearer {TOKEN}"
    assert request["headers"]["mcp-method"] == "tools/call"


async def test_a_server_is_told_the_trace_of_the_call(
    home: ToolHome, server: RunningMcpServer
) -> None:
    follow(home, server.url)
    await answered(home)
    context = tool_context()
    envelope = await home.registry.run("crm__trace", {}, context)
    assert envelope.data == {"structured": {"result": context.context.trace.traceparent}}


async def test_a_server_of_the_former_protocol_is_spoken_to_as_well(
    server: RunningMcpServer,
) -> None:
    endpoint = Endpoint("crm", server.url, TOKEN, LEGACY)
    arguments = {"a": 2, "b": 3}
    trace = tool_context().context.trace.traceparent
    result = await call_tool(endpoint, "add", arguments, traceparent=trace, listed=False)
    assert result == {"structured": {"result": 5}}
    methods = [request["method"] for request in await server.seen()]
    assert methods[0] == "POST"
    assert methods[-1] == "DELETE"


async def test_arguments_are_held_against_the_schema_of_the_server(
    home: ToolHome, server: RunningMcpServer
) -> None:
    follow(home, server.url)
    envelope = await call(home, "add", a="two", b=3)
    assert code(envelope) == "invalid_arguments"


async def test_a_tool_that_fails_says_so_in_its_own_words(
    home: ToolHome, server: RunningMcpServer
) -> None:
    follow(home, server.url)
    envelope = await call(home, "fail", reason="x")
    assert code(envelope) == "tool_error"
    assert "Error executing tool fail" in str(envelope)
    assert envelope.untrusted


async def test_what_is_no_text_is_only_named(home: ToolHome, server: RunningMcpServer) -> None:
    follow(home, server.url)
    assert (await call(home, "picture")).data == {"omitted": ["image/png"]}


async def test_a_result_that_is_too_large_is_refused(
    home: ToolHome, server: RunningMcpServer
) -> None:
    follow(home, server.url)
    assert code(await call(home, "big", characters=100_000)) == "result_too_large"
    assert code(await call(home, "big", characters=MAX_ANSWER_BYTES)) == "bad_answer"
    assert code(await call(home, "echo", text="still there")) == "ok"


async def test_a_call_that_takes_too_long_ends_in_time(
    home: ToolHome, server: RunningMcpServer
) -> None:
    follow(home, server.url, timeoutSeconds=5)
    assert code(await call(home, "wait", seconds=60)) == "timeout"
    assert code(await call(home, "echo", text="still there")) == "ok"


async def test_a_rotated_token_is_used_without_a_restart(
    home: ToolHome, server: RunningMcpServer, token_file: Path
) -> None:
    follow(home, server.url)
    assert code(await call(home, "echo", text="a")) == "ok"
    await server.change_token("mcp-secret-2")
    refused = await call(home, "echo", text="a")
    assert code(refused) == "unauthorized"
    assert "mcp-secret" not in str(refused)
    token_file.write_text("mcp-secret-2")  # noqa: ASYNC240 (a test's own file)
    assert code(await call(home, "echo", text="a")) == "ok"


async def test_a_missing_token_is_said_before_anything_is_sent(
    home: ToolHome, server: RunningMcpServer, token_file: Path
) -> None:
    token_file.unlink()  # noqa: ASYNC240 (a test's own file)
    follow(home, server.url)
    envelope = await call(home, "echo", text="a")
    assert code(envelope) == "unknown_tool"
    assert "Credential 'crm' is not mounted" in str(envelope)
    assert await server.seen() == []


async def test_a_server_that_goes_away_costs_only_its_own_tools_and_is_found_again(
    home: ToolHome, server: RunningMcpServer
) -> None:
    follow(home, server.url)
    assert code(await call(home, "echo", text="a")) == "ok"
    server.stop()
    assert code(await call(home, "echo", text="a")) == "unreachable"
    other = await home.registry.run("calculate", {"expression": "1+1"}, tool_context())
    assert other.ok
    assert home.registry.get("crm__echo") is not None
    await server.start()
    assert code(await call(home, "echo", text="a")) == "ok"


async def test_a_server_that_was_never_there_is_named_with_the_reason(
    home: ToolHome, server: RunningMcpServer
) -> None:
    server.stop()
    follow(home, server.url)
    envelope = await call(home, "echo", text="a")
    assert "Server 'crm' does not answer" in str(envelope)
    assert set(home.registry.failures) == {"crm"}


async def test_a_server_that_is_taken_out_takes_its_tools_along(
    home: ToolHome, server: RunningMcpServer
) -> None:
    follow(home, server.url)
    await answered(home)
    home.configure()
    assert home.registry.get("crm__echo") is None
    gone = await home.registry.run("crm__echo", {"text": "a"}, tool_context())
    assert code(gone) == "unknown_tool"


async def test_many_calls_at_once_get_their_own_answers(
    home: ToolHome, server: RunningMcpServer
) -> None:
    follow(home, server.url)
    await answered(home)
    context = tool_context(seconds=60)
    answers = await asyncio.gather(
        *(home.registry.run("crm__echo", {"text": str(n)}, context) for n in range(40))
    )
    assert [answer.data["structured"]["result"] for answer in answers] == [
        str(number) for number in range(40)
    ]


@pytest.fixture
def hostile() -> Iterator[HostileMcp]:
    with hostile_mcp() as server:
        yield server


@pytest.mark.parametrize(
    ("mode", "hint"),
    [
        pytest.param("garbage", "no MCP", id="a body that is no JSON"),
        pytest.param("flood", "no MCP", id="a body without an end"),
        pytest.param("packed", "no MCP", id="a packed body that nobody asked for"),
        pytest.param("error", "no thanks", id="an error"),
        pytest.param("500", "answers with 500", id="a failing server"),
        pytest.param("redirect", "not followed", id="a redirect to another host"),
        pytest.param("hang", "gave no answer in time", id="a server that hangs"),
    ],
)
async def test_a_hostile_server_ends_in_a_reason(
    home: ToolHome, hostile: HostileMcp, mode: str, hint: str
) -> None:
    hostile.mode = mode
    follow(home, hostile.url, timeoutSeconds=3 if mode == "hang" else 30)
    await answered(home)
    assert hint in home.registry.failures["crm"]


async def test_a_server_that_never_answers_holds_up_the_first_turn_and_no_other(
    home: ToolHome, hostile: HostileMcp
) -> None:
    hostile.mode = "hang"
    follow(home, hostile.url, timeoutSeconds=300)
    async with asyncio.timeout(8 * FIRST_ANSWER_SECONDS):
        for _ in range(16):
            await home.registry.prepare(["crm__any"])
    assert code(await home.registry.run("crm__any", {}, tool_context())) == "unknown_tool"


async def test_what_a_server_repeats_of_the_token_is_told_to_nobody(
    home: ToolHome, hostile: HostileMcp, caplog: pytest.LogCaptureFixture
) -> None:
    hostile.mode = "telltale"
    follow(home, hostile.url)
    envelope = await call(home, "any")
    assert "what is Bearer [credential]?" in str(envelope)
    assert envelope.untrusted
    assert hostile.shown == f"Bearer {TOKEN}"
    assert [record.reason for record in caplog.records if hasattr(record, "reason")]
    assert TOKEN not in str(envelope) + str([vars(record) for record in caplog.records])


async def test_of_a_list_without_an_end_only_so_much_is_taken(
    home: ToolHome, hostile: HostileMcp
) -> None:
    hostile.mode = "endless"
    follow(home, hostile.url)
    await answered(home)
    tools = [tool for tool in home.registry.list() if tool.source == "mcp:crm"]
    assert len(tools) == 128
    assert hostile.lists <= 10


async def test_tools_that_no_model_could_be_given_are_left_out(
    home: ToolHome, hostile: HostileMcp
) -> None:
    hostile.mode = "odd"
    follow(home, hostile.url)
    await answered(home)
    tools = [tool for tool in home.registry.list() if tool.source == "mcp:crm"]
    assert [tool.name for tool in tools] == ["crm__fine"]
    assert len(tools[0].description) == 2_048


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    script = (
        "import sys; import bulkhead_runtime.tools.registry, bulkhead_runtime.tools.runner; "
        "sys.exit(any(name in sys.modules for name in ('mcp', 'aiohttp', 'jsonschema', 'stamina')))"
    )
    path = os.pathsep.join(map(str, sys.path))
    result = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": path}, check=False)
    assert result.returncode == 0


def test_an_endpoint_never_shows_its_token() -> None:
    endpoint = Endpoint("crm", "http://x/", TOKEN)
    assert TOKEN not in repr(replace(endpoint, era=LEGACY))
