"""What a rollout is told of each version."""

from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from bulkhead_api.runtime_config import PackageContent, PackageDocument, ProviderConfig
from bulkhead_api.runtime_state import LATENCY_BOUNDS
from bulkhead_api.v1alpha1.agents import HttpTool
from bulkhead_api.v1alpha1.models import ModelPrice
from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_runtime.telemetry.measurements import VersionMeasurements
from tests.support.runtime.in_process import PRICED
from tests.support.runtime.rollouts import ask, measured, report_of, settled, state
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document

V = ("helper", "1.0.0")


def _only(measurements: VersionMeasurements) -> Any:
    (told,) = measurements.told()
    return told


@pytest.mark.parametrize(
    ("seconds", "index"),
    [(0, 0), (0.5, 0), (0.51, 1), (30, 6), (3600, 12), (90_000, 13)],
    ids=[
        "nothing into the first class",
        "a bound itself into the class that it ends",
        "more than a bound into the next class",
        "half a minute into its class",
        "the last bound into the last bounded class",
        "more than any bound into the class of the longer ones",
    ],
)
def test_an_execution_is_counted_by_its_duration(seconds: float, index: int) -> None:
    measurements = VersionMeasurements()
    measurements.keep([V])
    measurements.ended(V, failed=False, seconds=seconds, cost=None)
    counts = _only(measurements).seconds
    assert len(counts) == len(LATENCY_BOUNDS) + 1
    assert [number for number, count in enumerate(counts) if count] == [index]


def test_only_versions_that_are_loaded_are_counted() -> None:
    measurements = VersionMeasurements()
    measurements.keep([V])
    measurements.ended(("ghost", "1.0.0"), failed=True, seconds=1, cost=None)
    measurements.tool_called(("", ""), denied=False)
    assert _only(measurements).executions == 0
    measurements.keep([])
    assert measurements.told() == ()


def test_a_version_that_stays_loaded_keeps_its_counts() -> None:
    measurements = VersionMeasurements()
    measurements.keep([V])
    measurements.ended(V, failed=True, seconds=1, cost=Decimal("0.1"))
    measurements.keep([V, ("helper", "2.0.0")])
    measurements.ended(V, failed=False, seconds=1, cost=Decimal("0.2"))
    told = measurements.told()[0]
    assert (told.executions, told.failures, told.cost) == (2, 1, "0.3")


async def _say(http: aiohttp.ClientSession, to: str, message: str = "hi") -> int:
    async with http.post(f"/v1/agents/{to}/execute", json={"message": message}) as response:
        await response.read()
        return response.status


async def test_executions_failures_and_cost_are_told_per_version(
    files: RuntimeFiles, stubbed: ProviderConfig
) -> None:
    good = document("1.0.0", agent("good", model="stub/words"))
    bad = PackageDocument.of(
        "other",
        "2.0.0",
        (agent("failing", model="stub/error"), agent("ghostly", model="stub/unknown")),
    )
    price = ModelPrice.model_validate({"model": "stub/words", **PRICED})
    config = ask(files, (good, 100), (bad, 100), nonces={}, providers=(stubbed,))
    models = config.models.model_copy(update={"prices": (price,)})
    files.config.configure(config.model_copy(update={"models": models}).with_hash(), good, bad)
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            statuses = [
                await _say(http, to) for to in ("good", "good", "failing", "ghostly", "ghostly")
            ]
        well, badly = await measured(runtime, "1.0.0"), await measured(runtime, "2.0.0")
        plain = await state(runtime)

    assert statuses == [200, 200, 502, 404, 404]
    assert (well.executions, well.failures) == (2, 0)
    assert sum(well.seconds) == 2
    # Twice 7 tokens in at 1 and 5 tokens out at 2 millionths of a dollar.
    assert Decimal(well.cost) == Decimal("0.000034")
    assert (badly.executions, badly.failures) == (3, 3)
    assert plain.measurements == ()
    assert plain.started_at


async def test_what_a_caller_may_not_do_says_nothing_about_a_version(files: RuntimeFiles) -> None:
    limits = {"maxInputCharacters": 10}
    ask(files, (document(), 100), nonces={}, limits=limits)
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            assert await _say(http, "assistant", "far too long for this one") == 422
            assert await _say(http, "assistant", "short") == 200
        told = await measured(runtime, "1.0.0")
    assert (told.executions, told.failures) == (1, 0)


async def test_calls_of_tools_are_told_with_those_that_policy_denied(
    files: RuntimeFiles, stubbed: ProviderConfig
) -> None:
    agents = (agent("may", tools=["peek"]), agent("may-not", tools=["look"]))
    rules = [{"name": "peeking", "effect": "Allow", "match": ["peek"]}]
    tools = Tools.model_validate({"policy": {"rules": rules}})
    declared = tuple(
        HttpTool(name=name, description="Looks inside.", url="http://127.0.0.1:9/")
        for name in ("peek", "look")
    )
    ask(
        files,
        (PackageDocument.of("helper", "1.0.0", agents, declared), 100),
        nonces={},
        tools=tools,
        providers=(stubbed,),
        default_model="stub/tools",
    )
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            assert [await _say(http, to) for to in ("may", "may-not", "may-not")] == [200] * 3
        told = await measured(runtime, "1.0.0")
    assert (told.tool_calls, told.tool_denials) == (3, 2)


async def test_health_checks_are_not_measured(files: RuntimeFiles) -> None:
    speaks = {"name": "speaks", "prompt": {"agent": "assistant", "message": "hello"}}
    content = {"agents": [{"name": "assistant"}], "healthChecks": [speaks]}
    checked = PackageDocument.holding("helper", "1.0.0", PackageContent.model_validate(content))
    config = ask(files, (checked, 100), nonces={"1.0.0": "a"})
    with RuntimeProcess(files) as runtime:
        report = report_of(await settled(runtime, config), "1.0.0")
        told = await measured(runtime, "1.0.0")
    assert report.verdict == "Passed", report
    assert told.executions == 0


async def test_libraries_and_python_are_told_when_they_are_asked_for(files: RuntimeFiles) -> None:
    config = ask(files, (document(), 100), nonces={})
    with RuntimeProcess(files) as runtime:
        await settled(runtime, config)
        told = await state(runtime, "?include=libraries&include=measurements")
        plain = await state(runtime)
    assert told.libraries["pydantic"].count(".") == 2
    assert 10 < len(told.libraries) <= 300
    assert told.python.startswith("3.")
    assert [one.version for one in told.measurements] == ["1.0.0"]
    assert plain.libraries == {}
