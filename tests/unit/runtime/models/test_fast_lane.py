import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from decimal import Decimal

import msgspec
import pytest

from bulkhead_api.runtime_config import ModelsConfig, ProviderConfig
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.fast_lane.client import FastLaneClient
from bulkhead_runtime.models.fast_lane.connections import Connections
from bulkhead_runtime.models.port import (
    Finished,
    Meter,
    ModelMessage,
    Part,
    TextDelta,
    ToolCall,
    Usage,
)
from bulkhead_runtime.models.prices import PriceBook
from bulkhead_runtime.models.request_body import limit_field
from tests.support.stub_provider import StubProvider
from tests.unit.runtime.models.conftest import CALCULATE, KEY, UNCOUNTED, MakeClient, request

FIVE_WORDS = "word0 word1 word2 word3 word4 "
_HELLO = (
    b'data: {"model":"m","choices":[{"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
ONE_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_HELLO), _HELLO)
)


async def parts_of(client: FastLaneClient, model: str, seconds: float = 10) -> list[Part]:
    return [part async for part in client.stream(request(f"up/{model}", seconds=seconds), Meter())]


def text(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextDelta))


@pytest.mark.parametrize("model", ["words", "no-done", "duplicate-finish", "words;delay_ms=5"])
async def test_an_answer_is_its_text_then_usage_then_the_end(
    make_client: MakeClient, model: str
) -> None:
    parts = await parts_of(make_client(), model)
    assert text(parts) == FIVE_WORDS
    assert isinstance(parts[-2], Usage)
    assert parts[-1] == Finished("stop", model)
    assert sum(isinstance(part, Usage | Finished) for part in parts) == 2


async def test_of_an_answer_in_parts_the_text_is_shown_and_all_is_counted(
    make_client: MakeClient,
) -> None:
    asked = msgspec.structs.replace(request("up/thinking"), max_output_tokens=4_096)
    parts = [part async for part in make_client().stream(asked, Meter())]
    assert text(parts) == f"Well: {FIVE_WORDS}"
    assert isinstance(parts[-2], Usage)
    assert parts[-2].output_tokens > len("a secret thought" + text(parts))


async def test_usage_is_what_the_provider_counted(make_client: MakeClient) -> None:
    parts = await parts_of(make_client(), "words;chunks=20")
    assert parts[-2] == Usage(input_tokens=7, output_tokens=20, cost=None, estimated=False)


@pytest.mark.parametrize("model", UNCOUNTED)
async def test_usage_that_nobody_counted_is_bounded_by_bytes_and_says_so(
    make_client: MakeClient, model: str
) -> None:
    parts = await parts_of(make_client(), model)
    usage = parts[-2]
    assert isinstance(usage, Usage)
    assert usage.estimated
    assert usage.output_tokens >= len(FIVE_WORDS)
    assert usage.input_tokens >= len("Hello")


@pytest.mark.parametrize("model", ["no-usage", "endless"])
async def test_what_nobody_counted_is_never_more_than_was_asked_for(
    make_client: MakeClient, model: str
) -> None:
    asked = msgspec.structs.replace(request(f"up/{model}"), max_output_tokens=3)
    meter = Meter()
    with contextlib.suppress(ModelError):
        async for _ in make_client().stream(asked, meter):
            pass
    assert meter.usage is not None
    assert meter.usage.output_tokens == 3


async def test_parts_arrive_while_the_provider_is_still_talking(
    make_client: MakeClient,
) -> None:
    stream = make_client().stream(request("up/hang"), Meter())
    assert await anext(stream) == TextDelta("word0 ")
    await stream.aclose()


async def test_the_request_carries_key_limit_tools_and_history(
    make_client: MakeClient, stub: StubProvider
) -> None:
    call = ToolCall("call_1", "calculate", '{"expression":"1+1"}')
    history = (
        ModelMessage("system", "Be kind."),
        ModelMessage("user", "1+1?"),
        ModelMessage("assistant", "", (call,)),
        ModelMessage("tool", '{"ok":true,"data":2}', tool_call_id="call_1"),
    )
    asked = request("up/words", messages=history, tools=(CALCULATE,))
    async for _ in make_client().stream(asked, Meter()):
        pass
    (seen,) = stub.requests
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.body["max_tokens"] == 64
    assert seen.body["tools"][0]["function"]["name"] == "calculate"
    assert seen.body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "1+1?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "calculate", "arguments": '{"expression":"1+1"}'},
                }
            ],
        },
        {"role": "tool", "content": '{"ok":true,"data":2}', "tool_call_id": "call_1"},
    ]


@pytest.mark.parametrize(
    ("base", "path"),
    [
        pytest.param("/openai/v1", "/openai/v1/chat/completions", id="as Azure's"),
        pytest.param("/v1beta/openai/", "/v1beta/openai/chat/completions", id="as Gemini's"),
        pytest.param("", "/chat/completions", id="of a host alone"),
    ],
)
async def test_a_call_goes_below_the_address_of_its_provider(
    make_client: MakeClient, stub: StubProvider, base: str, path: str
) -> None:
    await parts_of(make_client(stub.base_url.removesuffix("/v1") + base), "words")
    assert stub.requests[0].path == path
    assert stub.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_tool_call_is_held_back_until_it_is_complete(make_client: MakeClient) -> None:
    asked = request("up/tools;delay_ms=5", tools=(CALCULATE,))
    parts = [part async for part in make_client().stream(asked, Meter())]
    assert parts == [
        ToolCall("call_up", "calculate", '{"expression": "6 * 7"}'),
        Usage(7, 9),
        Finished("tool_calls", "tools;delay_ms=5"),
    ]


@pytest.mark.parametrize(
    ("model", "kind", "status", "hint"),
    [
        ("garbage", "garbage", None, "not JSON"),
        ("wrong-shape", "garbage", None, "no part of a chat completion"),
        ("html", "garbage", None, "text/html instead of text/event-stream"),
        ("oversized", "garbage", None, "more than 1048576 bytes"),
        ("endless", "garbage", None, "more than 20480 bytes where at most 64 tokens"),
        ("error-frame", "unavailable", None, "overloaded"),
        ("cut", "unavailable", None, "the connection broke"),
        ("ends-early", "unavailable", None, "ended its answer early"),
        ("redirect", "unavailable", 307, "write the final address as baseURL"),
        ("rate-limited", "rate_limited", 429, "try again later"),
        ("error", "unavailable", 500, "try again later"),
        ("unauthorized", "unauthorized", 401, "credentialsRef"),
        ("unpaid", "unauthorized", 402, "fill up the account"),
        ("unknown", "unknown_model", 404, "'unknown'"),
        ("context", "invalid_request", 400, "maximum context length is 8192"),
    ],
)
async def test_a_failure_has_a_kind_and_a_remedy_and_never_the_key(
    make_client: MakeClient, model: str, kind: str, status: int | None, hint: str
) -> None:
    with pytest.raises(ModelError) as failed:
        await parts_of(make_client(), model)
    assert (failed.value.kind, failed.value.status) == (kind, status)
    assert hint in failed.value.message
    assert KEY not in failed.value.message
    assert len(failed.value.message) < 400
    assert failed.value.__cause__ is None


async def test_the_wait_that_a_provider_asks_for_is_handed_on(make_client: MakeClient) -> None:
    with pytest.raises(ModelError) as failed:
        await parts_of(make_client(), "rate-limited;retry_after=30")
    assert failed.value.retry_after == 30


@pytest.mark.parametrize("model", ["hang", "silent"])
async def test_a_provider_that_falls_silent_ends_at_its_timeout(
    make_client: MakeClient, stub: StubProvider, model: str
) -> None:
    with pytest.raises(ModelError, match="timeoutSeconds") as failed:
        await parts_of(make_client(timeout_seconds=1), model)
    assert failed.value.kind == "timeout"
    assert await stub.cancelled()


@pytest.mark.parametrize("model", ["hang", "silent", "words;chunks=9999;delay_ms=20"])
async def test_the_deadline_of_the_request_ends_any_call(
    make_client: MakeClient, model: str
) -> None:
    with pytest.raises(ModelError) as failed:
        await parts_of(make_client(timeout_seconds=60), model, seconds=0.3)
    assert failed.value.kind == "timeout"


async def test_a_deadline_that_has_passed_sends_nothing(
    make_client: MakeClient, stub: StubProvider
) -> None:
    with pytest.raises(ModelError) as failed:
        await parts_of(make_client(), "words", seconds=-1)
    assert failed.value.kind == "timeout"
    assert not stub.requests


async def test_a_call_is_sent_once_however_it_ends(
    make_client: MakeClient, stub: StubProvider
) -> None:
    with pytest.raises(ModelError):
        await parts_of(make_client(), "busy-once")
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("model", "sent", "output"),
    [
        pytest.param("words", True, 5, id="a whole answer is what the provider counted"),
        pytest.param("cut", True, 6, id="a cut one is bounded by its bytes"),
        pytest.param("hang", True, 6, id="so is one that falls silent"),
        pytest.param("silent", True, 0, id="who says nothing in time may have read it all"),
        pytest.param("error", False, 0, id="a server error took nothing"),
        pytest.param("rate-limited", False, 0, id="nor did a limit"),
        pytest.param("unauthorized", False, 0, id="nor a refused key"),
        pytest.param("html", False, 0, id="nor a web page"),
    ],
)
async def test_the_meter_tells_what_a_call_took_however_it_ends(
    make_client: MakeClient, model: str, *, sent: bool, output: int
) -> None:
    meter = Meter()
    with contextlib.suppress(ModelError):
        async for _ in make_client(timeout_seconds=3).stream(request(f"up/{model}"), meter):
            pass
    assert meter.sent == sent
    if not sent:
        assert meter.usage is None
        return
    assert meter.usage is not None
    assert meter.usage.output_tokens == output
    assert meter.usage.input_tokens >= len("Hello") or not meter.usage.estimated


async def test_the_meter_tells_what_a_cancelled_call_took(
    make_client: MakeClient, stub: StubProvider
) -> None:
    meter = Meter()
    stream = make_client().stream(request("up/hang"), meter)
    await anext(stream)
    await stream.aclose()
    assert meter.usage is not None
    assert meter.usage.estimated
    assert meter.usage.output_tokens == len("word0 ")


async def test_nothing_was_sent_to_whom_nobody_reached(make_client: MakeClient) -> None:
    meter = Meter()
    client = make_client(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ModelError):
        await anext(client.stream(request("up/words"), meter))
    assert (meter.sent, meter.usage) == (False, None)


async def test_the_callers_trace_is_continued_at_the_provider(
    make_client: MakeClient, stub: StubProvider
) -> None:
    context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    asked = msgspec.structs.replace(request("up/words"), traceparent=context)
    async for _ in make_client().stream(asked, Meter()):
        pass
    assert stub.requests[0].headers["traceparent"] == context


async def test_a_provider_that_nobody_listens_for_names_address_and_egress(
    make_client: MakeClient,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = make_client(base_url=f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
        with pytest.raises(ModelError, match=r"spec\.network\.egress allows") as failed:
            await parts_of(client, "words")
    assert failed.value.kind == "unavailable"


async def test_closing_the_stream_ends_the_call_at_the_provider(
    make_client: MakeClient, stub: StubProvider
) -> None:
    stream = make_client().stream(request("up/hang"), Meter())
    await anext(stream)
    await stream.aclose()
    assert await stub.cancelled()


async def test_cancelling_the_task_ends_the_call_at_the_provider(
    make_client: MakeClient, stub: StubProvider
) -> None:
    task = asyncio.create_task(parts_of(make_client(), "silent"))
    assert await stub.asked()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert await stub.cancelled()


async def test_calls_share_connections(make_client: MakeClient, stub: StubProvider) -> None:
    client = make_client()
    for _ in range(5):
        await parts_of(client, "words")
    assert len({seen.client for seen in stub.requests}) == 1


async def test_a_kept_connection_that_the_provider_closed_costs_no_call(
    make_client: MakeClient,
) -> None:
    async with closing_after_one_answer() as (base_url, connections):
        client = make_client(base_url=base_url)
        for _ in range(3):
            assert text(await parts_of(client, "words")) == "Hello"
    assert connections == [2, 2, 1]


@contextlib.asynccontextmanager
async def closing_after_one_answer() -> AsyncIterator[tuple[str, list[int]]]:
    """Serve one answer for each connection and hang up at its second request, as if too late.

    Yields the base URL and the requests that each connection brought.
    """
    requests: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(requests)
        requests.append(0)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while requests[number] < 2:
                head = await reader.readuntil(b"\r\n\r\n")
                (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length))
                requests[number] += 1
                writer.write(ONE_ANSWER if requests[number] == 1 else b"")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", requests
    finally:
        server.close()


async def test_a_known_seller_is_paid_in_exact_decimals(stub: StubProvider) -> None:
    connections = Connections()
    provider = ProviderConfig(
        name="gpt", type="OpenAICompatible", base_url="https://api.openai.com/v1"
    )
    prices = PriceBook(ModelsConfig(default="gpt/gpt-4o", providers=(provider,)))
    client = FastLaneClient(provider, None, connections, prices)
    usage = client.accounting.usage(request("gpt/gpt-4o"), (1_000, 100), 400)
    assert usage == Usage(1_000, 100, Decimal("0.0035"))
    await connections.aclose()


@pytest.mark.parametrize(
    ("base_url", "field"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://acme.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("http://ollama:11434/v1", "max_tokens"),
        ("https://openai.com.evil.example/v1", "max_tokens"),
    ],
)
def test_the_output_limit_has_the_name_that_the_provider_knows(base_url: str, field: str) -> None:
    provider = ProviderConfig(name="p", type="OpenAICompatible", base_url=base_url)
    assert limit_field(provider) == field
