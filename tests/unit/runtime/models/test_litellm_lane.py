import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.litellm_lane import wire
from bulkhead_runtime.models.litellm_lane.child import Timing
from bulkhead_runtime.models.litellm_lane.client import LiteLLMClient
from bulkhead_runtime.models.litellm_lane.process import LiteLLMProcess
from bulkhead_runtime.models.port import (
    Finished,
    Meter,
    ModelMessage,
    ModelRequest,
    Part,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)
from tests.support.deadline import until
from tests.support.stub_provider import StubProvider
from tests.unit.runtime.models.conftest import CALCULATE, KEY, NO_PRICES, UNCOUNTED, request

FIVE_WORDS = "word0 word1 word2 word3 word4 "
STARTING = 300.0
"""Seconds for a request that may have to wait for litellm's import on a busy machine."""

PATIENT = Timing(start=STARTING, silence=STARTING)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process() -> AsyncIterator[LiteLLMProcess]:
    process = LiteLLMProcess(PATIENT)
    yield process
    await process.aclose()


pytestmark = pytest.mark.asyncio(loop_scope="module")


def client_of(
    process: LiteLLMProcess, stub: StubProvider, *, name: str = "anthropic", timeout: int = 60
) -> LiteLLMClient:
    base_url = stub.base_url.removesuffix("/v1") if name == "anthropic" else stub.base_url
    provider = ProviderConfig(name=name, type="LiteLLM", base_url=base_url, timeout_seconds=timeout)
    return LiteLLMClient(provider, KEY, process, NO_PRICES)


def stopped(pid: int) -> Callable[[], Awaitable[bool]]:
    async def is_stopped() -> bool:
        return not await asyncio.to_thread(Path(f"/proc/{pid}").exists)

    return is_stopped


def told_to_process(pid: int | None) -> str:
    """Return the arguments and the environment that a process was started with."""
    return "".join(Path(f"/proc/{pid}/{what}").read_text() for what in ("cmdline", "environ"))


def ask(model: str, tools: tuple[ToolSpec, ...] = ()) -> ModelRequest:
    return request(model, seconds=STARTING, tools=tools)


async def parts_of(
    client: LiteLLMClient, asked: ModelRequest, meter: Meter | None = None
) -> list[Part]:
    return [part async for part in client.stream(asked, meter or Meter())]


def text(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextDelta))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("anthropic", "/v1/messages"),
        ("openai", "/v1/chat/completions"),
        pytest.param("together-ai", "/v1/chat/completions", id="together_ai, as a DNS label"),
    ],
)
async def test_a_conversation_is_translated_into_the_providers_own_words(
    process: LiteLLMProcess, stub: StubProvider, name: str, path: str
) -> None:
    parts = await parts_of(client_of(process, stub, name=name), ask(f"{name}/words"))
    assert text(parts) == FIVE_WORDS
    usage = parts[-2]
    assert isinstance(usage, Usage)
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (7, 5, False)
    assert isinstance(parts[-1], Finished)
    assert parts[-1].reason == "stop"
    (seen,) = stub.requests
    assert seen.path == path
    assert KEY in (seen.headers.get("x-api-key"), seen.headers.get("authorization", "")[7:])


@pytest.mark.parametrize(
    ("model", "path", "header", "shown"),
    [
        pytest.param(
            "azure/mine",
            "/openai/deployments/mine/chat/completions",
            "api-key",
            KEY,
            id="Azure's deployments",
        ),
        pytest.param(
            "gemini/gemini-2.0-flash",
            "/models/gemini-2.0-flash:streamGenerateContent",
            "x-goog-api-key",
            KEY,
            id="Gemini's own API",
        ),
        pytest.param(
            "bedrock/amazon.nova-lite-v1:0",
            "/model/amazon.nova-lite-v1:0/converse-stream",
            "authorization",
            f"Bearer {KEY}",
            id="Bedrock with an API key of its own",
        ),
    ],
)
async def test_a_seller_is_asked_where_and_with_the_key_as_it_wants(
    process: LiteLLMProcess, stub: StubProvider, model: str, path: str, *, header: str, shown: str
) -> None:
    name = model.partition("/")[0]
    address = stub.base_url.removesuffix("/v1")
    provider = ProviderConfig(name=name, type="LiteLLM", base_url=address)
    with pytest.raises(ModelError):  # the stub speaks none of these dialects
        await parts_of(LiteLLMClient(provider, KEY, process, NO_PRICES), ask(model))
    assert stub.requests[0].path == path
    assert stub.requests[0].headers[header] == shown


async def test_the_serving_process_never_imports_litellm(
    process: LiteLLMProcess, stub: StubProvider
) -> None:
    before = set(sys.modules)
    await parts_of(client_of(process, stub), ask("anthropic/words"))
    imported = set(sys.modules) - before
    assert not [name for name in imported if name.partition(".")[0] in {"litellm", "openai"}]
    assert process.pid not in {None, os.getpid()}


async def test_the_key_is_in_neither_arguments_nor_environment_of_the_process(
    process: LiteLLMProcess, stub: StubProvider
) -> None:
    await parts_of(client_of(process, stub), ask("anthropic/words"))
    told = told_to_process(process.pid)
    assert "LITELLM_LOCAL_MODEL_COST_MAP=True" in told
    assert KEY not in told


async def test_a_tool_call_comes_complete_and_its_result_goes_back(
    process: LiteLLMProcess, stub: StubProvider
) -> None:
    client = client_of(process, stub)
    parts = await parts_of(client, ask("anthropic/tools", (CALCULATE,)))
    call = parts[0]
    assert call == ToolCall("toolu_up", "calculate", '{"expression": "6 * 7"}')
    assert isinstance(parts[-1], Finished)
    assert parts[-1].reason == "tool_calls"
    answered = request(
        "anthropic/tools",
        seconds=STARTING,
        tools=(CALCULATE,),
        messages=(
            ModelMessage("user", "6 * 7?"),
            ModelMessage("assistant", "", (call,)),
            ModelMessage("tool", '{"ok":true,"data":"42"}', tool_call_id="toolu_up"),
        ),
    )
    assert text(await parts_of(client, answered)) == FIVE_WORDS


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("anthropic/rate-limited", "rate_limited"),
        ("anthropic/unauthorized", "unauthorized"),
        ("anthropic/unheard-of", "unknown_model"),
        ("openai/context", "invalid_request"),
        ("openai/error", "unavailable"),
        ("openai/garbage", "unavailable"),
    ],
)
async def test_a_failure_has_a_kind_and_never_the_key(
    process: LiteLLMProcess, stub: StubProvider, model: str, kind: str
) -> None:
    client = client_of(process, stub, name=model.partition("/")[0])
    with pytest.raises(ModelError) as failed:
        await parts_of(client, ask(model))
    assert failed.value.kind == kind
    assert KEY not in failed.value.message
    assert len(failed.value.message) < 400


@pytest.mark.parametrize("name", ["anthropic", "openai"])
async def test_the_wait_that_a_provider_asks_for_is_handed_on(
    process: LiteLLMProcess, stub: StubProvider, name: str
) -> None:
    with pytest.raises(ModelError) as failed:
        await parts_of(client_of(process, stub, name=name), ask(f"{name}/rate-limited"))
    assert failed.value.retry_after == 30


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        pytest.param("openai/words", True, id="a whole answer"),
        pytest.param("openai/garbage", True, id="one that broke off"),
        pytest.param("openai/garbage;chunks=0", True, id="one without its first word"),
        pytest.param("openai/error", False, id="a server error"),
        pytest.param("openai/rate-limited", False, id="a limit"),
    ],
)
async def test_the_meter_tells_whether_the_provider_may_want_to_be_paid_for(
    process: LiteLLMProcess, stub: StubProvider, model: str, *, sent: bool
) -> None:
    meter = Meter()
    with contextlib.suppress(ModelError):
        async for _ in client_of(process, stub, name="openai").stream(ask(model), meter):
            pass
    assert meter.sent == sent
    assert (meter.usage is not None) == sent


@pytest.mark.parametrize(
    "model",
    [*UNCOUNTED, pytest.param("no-usage;llama-3=1", id="a model whose tokenizer is not here")],
)
async def test_usage_that_nobody_counted_is_bounded_by_bytes_and_says_so(
    process: LiteLLMProcess, stub: StubProvider, model: str
) -> None:
    client = client_of(process, stub, name="groq")
    *_, usage, _ = await parts_of(client, ask(f"groq/{model}"))
    assert isinstance(usage, Usage)
    assert usage.estimated
    assert usage.input_tokens >= len("Hello")
    assert len(FIVE_WORDS) <= usage.output_tokens <= 64


@pytest.mark.parametrize(
    "model", ["anthropic/cut", "anthropic/ends-early", "openai/cut", "openai/ends-early"]
)
async def test_an_answer_without_its_end_is_none(
    process: LiteLLMProcess, stub: StubProvider, model: str
) -> None:
    client = client_of(process, stub, name=model.partition("/")[0])
    meter = Meter()
    with pytest.raises(ModelError) as failed:
        await parts_of(client, ask(model), meter)
    assert failed.value.kind == "unavailable"
    assert meter.begun


async def test_the_callers_trace_is_continued_at_the_provider(
    process: LiteLLMProcess, stub: StubProvider
) -> None:
    context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    asked = msgspec.structs.replace(ask("anthropic/words"), traceparent=context)
    await parts_of(client_of(process, stub), asked)
    assert stub.requests[0].headers["traceparent"] == context


async def test_many_calls_share_the_process_and_keep_their_answers_apart(
    process: LiteLLMProcess, stub: StubProvider
) -> None:
    client = client_of(process, stub)
    counts = (1, 80, 3, 200, 5)
    answers = await asyncio.gather(
        *(parts_of(client, ask(f"anthropic/words;chunks={count}")) for count in counts)
    )
    assert [len(text(parts).split()) for parts in answers] == list(counts)


async def test_a_reader_that_stops_is_sent_no_more_than_its_credit(
    process: LiteLLMProcess, stub: StubProvider
) -> None:
    start = wire.Start(
        id=0,
        model="anthropic/words;chunks=500",
        body={
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": True,
            "max_tokens": 9,
        },
        seconds=60,
        key=KEY,
        base_url=stub.base_url.removesuffix("/v1"),
    )
    async with process.call(start, time.monotonic() + STARTING) as stalled:
        quick = await parts_of(client_of(process, stub), ask("anthropic/words;chunks=300"))
        assert len(text(quick).split()) == 300
        assert stalled.unread <= wire.CREDIT
        received = 0
        while not isinstance(await stalled.next(), wire.Ended):
            received += 1
        assert received == 500


async def test_closing_the_stream_ends_the_call_at_the_provider(
    process: LiteLLMProcess, stub: StubProvider
) -> None:
    stream = client_of(process, stub).stream(
        ask("anthropic/words;chunks=1000;delay_ms=10"), Meter()
    )
    assert isinstance(await anext(stream), TextDelta)
    await stream.aclose()
    assert await stub.cancelled()


async def test_a_provider_that_falls_silent_ends_at_its_timeout(
    process: LiteLLMProcess, stub: StubProvider
) -> None:
    with pytest.raises(ModelError, match="timeoutSeconds") as failed:
        await parts_of(client_of(process, stub, timeout=1), ask("anthropic/hang"))
    assert failed.value.kind == "timeout"
    assert await stub.cancelled()


async def test_a_callers_options_cannot_choose_address_or_key(
    process: LiteLLMProcess, stub: StubProvider
) -> None:
    asked = ModelRequest(
        model="anthropic/words",
        messages=(ModelMessage("user", "Hello"),),
        max_output_tokens=64,
        deadline=time.monotonic() + STARTING,
        options={"api_base": "http://127.0.0.1:9", "mock_response": "fake", "top_p": 0.5},
    )
    assert text(await parts_of(client_of(process, stub), asked)) == FIVE_WORDS
    assert stub.requests[0].body["top_p"] == 0.5


async def test_a_process_that_dies_fails_its_calls_and_is_started_again(
    process: LiteLLMProcess, stub: StubProvider
) -> None:
    client = client_of(process, stub)
    stream = client.stream(ask("anthropic/words;chunks=1000;delay_ms=10"), Meter())
    await anext(stream)
    former = process.pid
    assert former is not None
    os.kill(former, signal.SIGKILL)
    with pytest.raises(ModelError, match="ended during the call") as failed:
        async for _ in stream:
            pass
    assert failed.value.kind == "unavailable"
    assert text(await parts_of(client, ask("anthropic/words"))) == FIVE_WORDS
    assert process.pid not in {None, former}


async def test_a_process_that_keeps_dying_is_given_time_before_the_next_start(
    process: LiteLLMProcess, stub: StubProvider
) -> None:
    client = client_of(process, stub)
    for _ in range(2):
        stream = client.stream(ask("anthropic/hang"), Meter())
        task = asyncio.ensure_future(anext(stream))
        assert await stub.asked(len(stub.requests) + 1, STARTING)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(ModelError, match="ended during the call"):
            await task
    with pytest.raises(ModelError, match="try again in") as refused:
        await parts_of(client, ask("anthropic/words"))
    assert refused.value.retry_after is not None
    assert refused.value.retry_after > 0


async def test_an_idle_process_is_stopped_and_a_silent_one_killed(stub: StubProvider) -> None:
    process = LiteLLMProcess(Timing(start=STARTING, ping=0.2, silence=10.0, idle=1.0))
    client = client_of(process, stub)
    try:
        await parts_of(client, ask("anthropic/words"))
        child = process.pid
        assert child is not None
        await until(stopped(child), "the idle process is stopped")
        task = asyncio.ensure_future(anext(client.stream(ask("anthropic/hang"), Meter())))
        assert await stub.asked(2, STARTING)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(ModelError, match="ended during the call"):
            await asyncio.wait_for(task, STARTING)
    finally:
        await process.aclose()
