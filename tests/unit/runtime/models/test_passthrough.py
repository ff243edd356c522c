import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.fast_lane.client import FastLaneClient
from bulkhead_runtime.models.port import ByteRequest, Meter, Usage
from tests.support.stub_provider import StubProvider
from tests.unit.runtime.models.conftest import KEY, UNCOUNTED, MakeClient


@dataclass
class Client:
    """Takes what is written, as the socket of a caller would."""

    written: list[bytes] = field(default_factory=list)
    leaves_after: int = 1_000_000
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, data: bytes) -> None:
        if len(self.written) >= self.leaves_after:
            raise ConnectionResetError
        self.written.append(data)
        self.began.set()

    @property
    def frames(self) -> list[bytes]:
        *frames, rest = b"".join(self.written).split(b"\n\n")
        assert rest == b""
        return [frame.removeprefix(b"data: ") for frame in frames]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [orjson.loads(frame) for frame in self.frames if frame != b"[DONE]"]

    @property
    def text(self) -> str:
        return "".join(
            choice["delta"].get("content") or ""
            for chunk in self.chunks
            for choice in chunk["choices"]
        )


async def pass_through(
    client: FastLaneClient,
    to: Client,
    model: str,
    *,
    include_usage: bool = False,
    seconds: float = 10,
    body: dict[str, Any] | None = None,
) -> Usage:
    request = ByteRequest(
        model=f"up/{model}",
        body={"messages": [{"role": "user", "content": "Hello"}], **(body or {})},
        answer_id="chatcmpl-ours",
        include_usage=include_usage,
        max_output_tokens=9,
        deadline=time.monotonic() + seconds,
    )
    meter = Meter()
    await client.passthrough(request, to.write, meter)
    assert meter.usage is not None
    return meter.usage


async def test_only_id_and_model_become_ours(make_client: MakeClient) -> None:
    caller = Client()
    assert await pass_through(make_client(), caller, "words;chunks=3") == Usage(7, 3)
    assert caller.text == "word0 word1 word2 "
    assert caller.frames[-1] == b"[DONE]"
    assert {(c["id"], c["model"]) for c in caller.chunks} == {
        ("chatcmpl-ours", "up/words;chunks=3")
    }
    assert all(chunk["system_fingerprint"] == "fp_stub" for chunk in caller.chunks)
    assert "usage" not in b"".join(caller.written).decode()


async def test_usage_is_written_where_the_caller_wants_it(make_client: MakeClient) -> None:
    caller = Client()
    await pass_through(make_client(), caller, "words", include_usage=True)
    assert caller.chunks[-1]["choices"] == []
    assert caller.chunks[-1]["usage"]["completion_tokens"] == 5


async def test_the_callers_parameters_reach_the_provider(
    make_client: MakeClient, stub: StubProvider
) -> None:
    await pass_through(
        make_client(),
        Client(),
        "words",
        body={
            "max_completion_tokens": 900,
            "max_tokens": 900,
            "top_p": 0.5,
            "stream_options": {"include_usage": False},
            "model": "somebody/elses",
        },
    )
    (seen,) = stub.requests
    assert seen.body == {
        "messages": [{"role": "user", "content": "Hello"}],
        "model": "words",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "top_p": 0.5,
    }


async def test_the_first_word_is_written_before_the_second_is_there(
    make_client: MakeClient,
) -> None:
    caller = Client()
    task = asyncio.create_task(pass_through(make_client(), caller, "hang"))
    await asyncio.wait_for(caller.began.wait(), 30)
    assert caller.text == "word0 "
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_end_without_done_is_completed(make_client: MakeClient) -> None:
    caller = Client()
    await pass_through(make_client(), caller, "no-done")
    assert caller.frames.count(b"[DONE]") == 1


async def test_nothing_follows_done(make_client: MakeClient) -> None:
    caller = Client()
    await pass_through(make_client(), caller, "duplicate-finish")
    assert caller.frames.index(b"[DONE]") == len(caller.frames) - 1
    assert "ghost" not in caller.text


@pytest.mark.parametrize("model", UNCOUNTED)
async def test_usage_that_nobody_counted_is_what_was_asked_for_at_most(
    make_client: MakeClient, model: str
) -> None:
    usage = await pass_through(make_client(), Client(), model)
    assert usage.estimated
    assert usage.output_tokens == 9
    assert usage.input_tokens >= len("Hello")


@pytest.mark.parametrize("model", ["cut", "ends-early"])
async def test_an_answer_that_breaks_off_is_told_as_such(
    make_client: MakeClient, model: str
) -> None:
    caller = Client()
    with pytest.raises(ModelError) as failed:
        await pass_through(make_client(), caller, model)
    assert failed.value.kind == "unavailable"
    assert caller.text == "word0 "
    assert b"[DONE]" not in caller.frames


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("silent", "timeout"),
        ("error", "unavailable"),
        ("rate-limited", "rate_limited"),
        ("unauthorized", "unauthorized"),
        ("html", "garbage"),
        ("wrong-shape", "garbage"),
        ("oversized", "garbage"),
    ],
)
async def test_what_fails_before_the_first_word_writes_nothing(
    make_client: MakeClient, model: str, kind: str
) -> None:
    caller = Client()
    with pytest.raises(ModelError) as failed:
        await pass_through(make_client(timeout_seconds=3), caller, model)
    assert failed.value.kind == kind
    assert KEY not in failed.value.message
    assert caller.written == []


@pytest.mark.parametrize("model", ["garbage;delay_ms=20", "error-frame", "endless"])
async def test_what_is_no_chunk_never_reaches_the_caller(
    make_client: MakeClient, model: str
) -> None:
    caller = Client()
    with pytest.raises(ModelError) as failed:
        await pass_through(make_client(), caller, model)
    assert KEY not in failed.value.message
    assert all("choices" in chunk for chunk in caller.chunks)


async def test_a_caller_who_leaves_ends_the_call_at_the_provider(
    make_client: MakeClient, stub: StubProvider
) -> None:
    with pytest.raises(ConnectionResetError):
        await pass_through(make_client(), Client(leaves_after=2), "words;chunks=1000;delay_ms=5")
    assert await stub.cancelled()


async def test_cancelling_ends_the_call_at_the_provider(
    make_client: MakeClient, stub: StubProvider
) -> None:
    caller = Client()
    task = asyncio.create_task(pass_through(make_client(), caller, "hang"))
    await asyncio.wait_for(caller.began.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stub.cancelled()
