"""Health checks of package versions, run inside the runtime when the operator asks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulkhead_api.runtime_config import PackageContent, PackageDocument, ProviderConfig
from bulkhead_api.v1alpha1.package_health import HttpCheck
from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_runtime.models.image_lane.images import Images
from bulkhead_runtime.packages.attempts import Attempts
from tests.support.runtime.in_process import running
from tests.support.runtime.rollouts import ask, report_of, settled, state
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, client, document
from tests.support.stub_provider import StubProvider
from tests.support.tool_homes import tool_home
from tests.support.web_server import WebServer, web_server

ASSISTANT = {"name": "assistant", "tools": ["calculate"]}
ALLOW_CALCULATE = {"name": "sums", "effect": "Allow", "match": ["calculate"]}


def checked(
    *checks: dict[str, Any], version: str = "2.0.0", agents: Any = (ASSISTANT,), **content: Any
) -> PackageDocument:
    """A version with health checks."""
    given = {"agents": agents, "healthChecks": checks, **content}
    return PackageDocument.holding("helper", version, PackageContent.model_validate(given))


def prompt(**expected: Any) -> dict[str, Any]:
    """A check that says hello to the assistant, once."""
    said = {"agent": "assistant", "message": "hello there", **expected}
    return {"name": "speaks", "prompt": said, "attempts": 1}


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": "tool", "tool": {"name": name, "arguments": arguments}, "attempts": 1}


PASSING = {
    "an answer contains a text, whatever its case": prompt(contains=["HELLO"]),
    "an answer does not contain a text": prompt(notContains=["goodbye"]),
    "an answer matches an expression": prompt(matches=r"(?i)HELLO\s+\w+"),
    "an answer comes in time": prompt(maxSeconds=10),
    "an answer costs no more than it may": prompt(maxCost="0.01"),
    "a tool of an agent answers": tool("calculate", expression="1+1"),
}

FAILING = {
    "an answer lacks a text": (
        prompt(contains=["goodbye"]),
        "speaks: the answer of 'assistant' does not contain 'goodbye'",
    ),
    "an answer has what it must not have": (
        prompt(notContains=["Hello"]),
        "speaks: the answer of 'assistant' contains 'Hello'",
    ),
    "an answer does not match an expression": (
        prompt(matches="^[0-9]+$"),
        "speaks: the answer of 'assistant' does not match '^[0-9]+$'",
    ),
    "there is no such agent": (
        {**prompt(), "prompt": {"agent": "ghost", "message": "hi"}},
        "speaks: There is no agent 'ghost'",
    ),
    "there is no such tool": (tool("ghost"), "tool: tool 'ghost' fails with unknown_tool"),
    "policy does not let the tool be called": (
        tool("current_time"),
        "tool: tool 'current_time' fails with denied",
    ),
    "the address may not be asked": (
        {"name": "crm", "http": {"url": "http://127.0.0.1:9/"}, "attempts": 1},
        "crm: Host '127.0.0.1' leads to an address that is not public",
    ),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    files.follow((document(), 100))
    with RuntimeProcess(files) as process:
        yield process


async def _verdict(
    served: RuntimeProcess, check: dict[str, Any], nonce: str
) -> tuple[str, str, int]:
    tools = Tools.model_validate({"policy": {"rules": [ALLOW_CALCULATE]}})
    followed = (document(), 100), (checked(check), 0)
    config = ask(served.files, *followed, nonces={"2.0.0": nonce}, tools=tools)
    report = report_of(await settled(served, config), "2.0.0")
    assert report.nonce == nonce
    return report.verdict, report.message, len(report.results)


@pytest.mark.parametrize("case", PASSING)
async def test_a_version_passes_when(served: RuntimeProcess, case: str) -> None:
    assert await _verdict(served, PASSING[case], case) == ("Passed", "", 1)


@pytest.mark.parametrize("case", FAILING)
async def test_a_version_fails_when(served: RuntimeProcess, case: str) -> None:
    check, reason = FAILING[case]
    verdict, message, _ = await _verdict(served, check, case)
    assert verdict == "Failed"
    assert message.startswith(reason)


async def test_a_version_without_checks_passes_at_once(files: RuntimeFiles) -> None:
    config = ask(files, (document(), 100), nonces={"1.0.0": "a"})
    with RuntimeProcess(files) as runtime:
        report = report_of(await settled(runtime, config), "1.0.0")
    assert (report.verdict, report.results) == ("Passed", ())


async def test_checks_run_once_per_value_and_are_ledgered(
    files: RuntimeFiles, stubbed: ProviderConfig, provider: StubProvider
) -> None:
    provider.forget()
    version = checked(prompt(), agents=({"name": "assistant", "model": "stub/words"},))
    options = {"providers": (stubbed,)}
    first = ask(files, (version, 100), nonces={"2.0.0": "a"}, **options)
    with RuntimeProcess(files) as runtime:
        await settled(runtime, first)
        moved = ask(
            files, (version, 100), nonces={"2.0.0": "a"}, limits={"maxQueueSize": 7}, **options
        )
        report = report_of(await settled(runtime, moved), "2.0.0")
        asked = len(provider.requests)
        again = ask(files, (version, 100), nonces={"2.0.0": "b"}, **options)
        report_again = report_of(await settled(runtime, again), "2.0.0")
        none = ask(files, (version, 100), nonces={}, **options)
        after = await settled(runtime, none)
        async with client(runtime) as http, http.get("/v1/usage?by=principal") as response:
            usage = await response.json()
        async with client(runtime) as http, http.get("/metrics") as response:
            shown = await response.text()
    assert (report.verdict, report.nonce, asked) == ("Passed", "a", 1)
    assert (report_again.verdict, report_again.nonce) == ("Passed", "b")
    assert len(provider.requests) == 2
    assert after.checks == ()
    assert "health-check" in str(usage)
    # Money is counted; a request of a tenant, which objectives are about, it was not.
    assert "bulkhead_tokens_total{" in shown
    assert "bulkhead_executions_total{" not in shown


async def test_an_organization_at_its_rate_fails_no_version(files: RuntimeFiles) -> None:
    limits = {"rateLimitPerMinute": 1}
    ask(files, (checked(prompt()), 100), nonces={}, limits=limits)
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            path = "/v1/agents/assistant/execute"
            statuses = []
            for _ in range(2):
                async with http.post(path, json={"message": "hi"}) as response:
                    statuses.append(response.status)
        config = ask(files, (checked(prompt()), 100), nonces={"2.0.0": "a"}, limits=limits)
        report = report_of(await settled(runtime, config), "2.0.0")
    assert statuses == [200, 429]
    assert report.verdict == "Passed", report.message


async def test_a_check_that_fails_at_first_is_tried_again(
    files: RuntimeFiles, stubbed: ProviderConfig, provider: StubProvider
) -> None:
    provider.forget()
    version = checked(
        {**prompt(), "attempts": 3},
        agents=({"name": "assistant", "model": "stub/error"},),
    )
    config = ask(files, (version, 100), nonces={"2.0.0": "a"}, providers=(stubbed,))
    with RuntimeProcess(files) as runtime:
        report = report_of(await settled(runtime, config), "2.0.0")
    assert report.verdict == "Failed"
    assert len(provider.requests) == 3


async def test_a_check_that_takes_too_long_has_failed(
    files: RuntimeFiles, stubbed: ProviderConfig
) -> None:
    version = checked(
        {**prompt(), "timeoutSeconds": 5},
        agents=({"name": "assistant", "model": "stub/silent"},),
    )
    config = ask(files, (version, 100), nonces={"2.0.0": "a"}, providers=(stubbed,))
    with RuntimeProcess(files) as runtime:
        early = await state(runtime)
        report = report_of(await settled(runtime, config), "2.0.0")
    assert report_of(early, "2.0.0").verdict == "Pending"
    assert report.message == "speaks: no result within 5 seconds"


async def test_a_dependency_that_is_optional_is_told_and_keeps_nothing_back(
    files: RuntimeFiles,
) -> None:
    def dependency(name: str, tool_name: str) -> dict[str, Any]:
        check = {"tool": {"name": tool_name, "arguments": {"expression": "1+1"}}}
        return {
            "type": "Integration",
            "name": name,
            "required": False,
            "healthCheck": check,
        }

    tools = Tools.model_validate({"policy": {"rules": [ALLOW_CALCULATE]}})
    fine = dependency("crm", "calculate")
    broken = dependency("search", "ghost")
    version = checked(dependencies=(fine, broken))
    config = ask(files, (version, 100), nonces={"2.0.0": "a"}, tools=tools)
    with RuntimeProcess(files) as runtime:
        report = report_of(await settled(runtime, config), "2.0.0")
    assert report.verdict == "Passed"
    assert {one.name: one.passed for one in report.results} == {
        "integration/crm": True,
        "integration/search": False,
    }


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.mark.parametrize(
    ("status", "expected", "wrong"),
    [
        (200, 200, None),
        (404, 404, None),
        (503, 200, "the address answers with status 503, not 200"),
    ],
    ids=["as expected", "with an error that is expected", "with another status"],
)
async def test_an_address_answers(
    tmp_path: Path, web: WebServer, status: int, expected: int, wrong: str | None
) -> None:
    path = web.put("health", b"fine", status=status)
    home = tool_home(tmp_path, public=lambda _: True)
    async with running(tmp_path) as runtime:
        attempts = Attempts(runtime.turns, runtime.tool_runs, home.registry, Images())
        version = next(iter(runtime.holder.require().versions.values()))
        check = HttpCheck(url=f"http://{web.address}:{web.port}{path}", expected_status=expected)
        try:
            assert await attempts.make(version, check) == wrong
        finally:
            await home.registry.aclose()
