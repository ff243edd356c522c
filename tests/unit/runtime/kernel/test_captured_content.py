"""Content in spans: what models were told and said, only where somebody asked for it."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bulkhead_api.runtime_config import PackageContent, PackageDocument
from bulkhead_api.v1alpha1.telemetry import Telemetry
from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.requests import PassthroughRequest
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.runtime import Runtime
from tests.support import stub_image, stub_provider
from tests.support.deadline import until
from tests.support.runtime.in_process import caller, running, say, stubbed
from tests.support.runtime.telemetry_receivers import CollectorServer, attributes, running_collector
from tests.support.runtime_process import KEY, agent, document
from tests.support.stub_provider import StubProvider

INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
ALLOW = Tools.model_validate(
    {"policy": {"rules": [{"name": "sums", "effect": "Allow", "match": ["calculate"]}]}}
)


@pytest.fixture
def collector() -> Iterator[CollectorServer]:
    with running_collector() as server:
        yield server


@pytest.fixture(scope="module")
def provider() -> Iterator[StubProvider]:
    with stub_provider.running() as stub:
        yield stub


@asynccontextmanager
async def traced(
    directory: Path,
    collector: CollectorServer,
    *documents: PackageDocument,
    capture: bool = True,
    **fields: Any,
) -> AsyncIterator[Runtime]:
    """Run a runtime whose spans reach the collector when it ends."""
    tracing = {
        "endpoint": collector.endpoint.removesuffix("/v1/traces"),
        "captureContent": capture,
    }
    telemetry = Telemetry.model_validate({"tracing": tracing})
    async with running(directory, *documents, telemetry=telemetry, **fields) as runtime:

        async def active() -> bool:
            return runtime.observability.tracing.active

        await until(active, "spans go to the collector")
        yield runtime


def told(collector: CollectorServer, name: str) -> list[dict[str, Any]]:
    """Return the attributes of the spans of calls of a model, the first first."""
    spans = sorted(collector.spans(), key=lambda span: span.start_time_unix_nano)
    return [attributes(span) for span in spans if span.name == f"chat {name}"]


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


async def test_each_call_of_a_turn_shows_its_messages_and_its_answer(
    tmp_path: Path, collector: CollectorServer, provider: StubProvider
) -> None:
    one = document("1.0.0", agent("assistant", instructions="Be brief.", tools=["calculate"]))
    fields = stubbed(provider, "tools", tools=ALLOW)
    async with traced(tmp_path, collector, one, **fields) as runtime:
        answer = (await say(runtime, "What is 6 * 7?")).answer
    first, second = told(collector, "stub/tools")

    system, *rest = json.loads(first[INPUT])
    assert system["role"] == "system"
    assert "Be brief." in system["parts"][0]["content"]
    assert rest == [{"role": "user", "parts": [text("What is 6 * 7?")]}]
    called = {"type": "tool_call", "name": "calculate", "arguments": '{"expression": "6 * 7"}'}
    (asked,) = json.loads(first[OUTPUT])
    assert asked["finish_reason"] == "tool_call"
    assert [{**part, "id": ""} for part in asked["parts"]] == [{**called, "id": ""}]

    result = json.loads(second[INPUT])[-1]
    assert (result["role"], result["parts"][0]["id"]) == ("tool", asked["parts"][0]["id"])
    assert "42" in result["parts"][0]["response"]
    assert json.loads(second[OUTPUT]) == [
        {"role": "assistant", "parts": [text(answer)], "finish_reason": "stop"}
    ]


async def test_a_stream_that_is_handed_on_shows_both_sides_too(
    tmp_path: Path, collector: CollectorServer, provider: StubProvider
) -> None:
    written: list[bytes] = []

    async def write(frames: bytes) -> None:
        written.append(frames)

    request = PassthroughRequest(
        model="stub/words",
        body={
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "hello"}]},
            ]
        },
        answer_id="chatcmpl-1",
        include_usage=False,
        messages=(ModelMessage("user", "hello"),),
        max_output_tokens=100,
        caller=caller(),
    )
    async with traced(tmp_path, collector, **stubbed(provider, "words")) as runtime:
        await runtime.direct.pass_through(request, write)
    (call,) = told(collector, "stub/words")
    frames = [json.loads(line[6:]) for line in b"".join(written).splitlines() if b"{" in line]
    answer = "".join(
        choice["delta"].get("content") or "" for f in frames for choice in f["choices"]
    )

    assert answer
    assert json.loads(call[INPUT]) == [
        {"role": "system", "parts": [text("Be brief.")]},
        {"role": "user", "parts": [text("hello")]},
    ]
    assert json.loads(call[OUTPUT]) == [
        {"role": "assistant", "parts": [text(answer)], "finish_reason": "stop"}
    ]


async def test_what_a_packages_own_image_says_is_shown(
    tmp_path: Path, collector: CollectorServer
) -> None:
    content = {
        "agents": [{"name": "assistant"}],
        "image": {"reference": "registry.example.com/agents/helper:1", "maxCostPerCall": "0.5"},
    }
    one = PackageDocument.holding("helper", "1.0.0", PackageContent.model_validate(content))
    async with (
        stub_image.running() as image,
        traced(tmp_path, collector, one, endpoints={"1.0.0": image.endpoint}) as runtime,
    ):
        await say(runtime, "hello")
    (call,) = told(collector, "package/helper")
    assert json.loads(call[INPUT])[-1] == {"role": "user", "parts": [text("hello")]}
    assert json.loads(call[OUTPUT])[0]["parts"] == [text("Hello there.")]


async def test_an_answer_that_ends_early_is_shown_as_far_as_it_came(
    tmp_path: Path, collector: CollectorServer, provider: StubProvider
) -> None:
    async with traced(tmp_path, collector, **stubbed(provider, "ends-early")) as runtime:
        with pytest.raises(Problem):
            await say(runtime, "hello")
    (call,) = told(collector, "stub/ends-early")
    (answer,) = json.loads(call[OUTPUT])
    assert (len(answer["parts"]), answer["finish_reason"]) == (1, "error")
    assert call["error.type"]


async def test_of_a_conversation_that_is_too_long_the_newest_is_readable(
    tmp_path: Path, collector: CollectorServer, provider: StubProvider
) -> None:
    async with traced(tmp_path, collector, **stubbed(provider, "words")) as runtime:
        session_id = None
        for number in range(8):
            session_id = (await say(runtime, f"{number}" + "é" * 9_000, session_id)).session_id
    newest = json.loads(told(collector, "stub/words")[-1][INPUT])
    assert newest[-1]["parts"][0]["content"] == "7" + "é" * 8_191
    assert len(json.dumps(newest, ensure_ascii=False)) <= 32_768
    assert newest[0]["role"] != "system"


async def test_a_secret_in_a_message_is_not_shown_not_even_half_of_it(
    tmp_path: Path, collector: CollectorServer, provider: StubProvider
) -> None:
    async with traced(tmp_path, collector, **stubbed(provider, "words")) as runtime:
        await say(runtime, "x" * 8_185 + f" {KEY}")
    assert "x" * 8_185 in told(collector, "stub/words")[0][INPUT]
    assert KEY[:5].encode() not in collector.raw


async def test_nothing_of_it_is_there_unless_it_was_asked_for(
    tmp_path: Path, collector: CollectorServer, provider: StubProvider
) -> None:
    fields = stubbed(provider, "words")
    async with traced(tmp_path, collector, capture=False, **fields) as runtime:
        await say(runtime, "a message of somebody")
    (call,) = told(collector, "stub/words")
    assert not {INPUT, OUTPUT}.intersection(call)
    assert b"a message of somebody" not in collector.raw
