"""The same request sent twice over HTTP is carried out once and answered twice."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_api.v1alpha1.models import CircuitBreaker
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document
from tests.support.stub_provider import StubProvider

EXECUTE = "/v1/agents/assistant/execute"
MESSAGES = [{"role": "user", "content": "x"}]


@pytest.fixture(scope="module")
def runtime(
    provider: StubProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    files.providers.switch({"stub": b"sk-stub"})
    config = ProviderConfig(
        name="stub",
        type="OpenAICompatible",
        base_url=provider.base_url,
        has_credentials=True,
        max_retries=0,
        circuit_breaker=CircuitBreaker(failures=1000),
    )
    agents = agent(), agent("broken", model="stub/cut")
    files.follow((document("1.0.0", *agents), 100), providers=(config,), default_model="stub/words")
    with RuntimeProcess(files) as process:
        yield process


async def _post(
    runtime: RuntimeProcess, path: str, body: dict[str, Any], key: str
) -> tuple[int, str, bool]:
    """Return the status, the body and whether it was told again."""
    async with (
        client(runtime) as http,
        http.post(path, json=body, headers={"Idempotency-Key": key}) as response,
    ):
        replayed = response.headers.get("Idempotency-Replayed") == "true"
        return response.status, await response.text(), replayed


def _texts(stream: str) -> str:
    """Return all text of a stream, whichever API it comes from."""
    frames = [line[6:] for line in stream.splitlines() if line.startswith("data: {")]
    texts = []
    for frame in map(json.loads, frames):
        choices = frame.get("choices") or [{}]
        texts.append(
            frame.get("text")
            if "text" in frame and "type" not in frame
            else None or frame.get("delta") or choices[0].get("delta", {}).get("content") or ""
        )
    return "".join(texts)


WHOLE: dict[str, tuple[str, dict[str, Any]]] = {
    "a turn of an agent": (EXECUTE, {"message": "x"}),
    "a chat completion of an agent": (
        "/v1/chat/completions",
        {"model": "assistant", "messages": MESSAGES},
    ),
    "a chat completion of a model": (
        "/v1/chat/completions",
        {"model": "stub/words", "messages": MESSAGES},
    ),
    "a response of an agent": ("/v1/responses", {"model": "assistant", "input": "x"}),
    "a response of a model": ("/v1/responses", {"model": "stub/words", "input": "x"}),
    "a tool": ("/v1/tools/run", {"tool": "calculate", "arguments": {"expression": "6*7"}}),
}
STREAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "a turn of an agent": (EXECUTE + "/stream", {"message": "x"}),
    **{what: (path, {**body, "stream": True}) for what, (path, body) in list(WHOLE.items())[1:5]},
}


@pytest.mark.parametrize(("path", "body"), WHOLE.values(), ids=WHOLE.keys())
async def test_it_is_answered_again_without_being_done_again(
    runtime: RuntimeProcess, provider: StubProvider, path: str, body: dict[str, Any]
) -> None:
    key = f"whole-{path}-{body.get('model')}"
    first = await _post(runtime, path, body, key)
    assert (first[0], first[2]) == (200, False), first
    provider.forget()
    again = await _post(runtime, path, body, key)
    assert again == (200, first[1], True)
    assert provider.requests == []


async def test_a_response_that_continues_another_is_answered_again(
    runtime: RuntimeProcess,
) -> None:
    body: dict[str, Any] = {"model": "assistant", "input": "x"}
    _, text, _ = await _post(runtime, "/v1/responses", body, "begun")
    body["previous_response_id"] = json.loads(text)["id"]
    first = await _post(runtime, "/v1/responses", body, "continued")
    again = await _post(runtime, "/v1/responses", body, "continued")
    assert again == (200, first[1], True)
    stale = await _post(runtime, "/v1/responses", body, "late")
    assert (stale[0], json.loads(stale[1])["error"]["param"]) == (400, "previous_response_id")


@pytest.mark.parametrize(("path", "body"), STREAMED.values(), ids=STREAMED.keys())
async def test_a_stream_is_told_again(
    runtime: RuntimeProcess, provider: StubProvider, path: str, body: dict[str, Any]
) -> None:
    key = f"stream-{path}-{body.get('model')}"
    status, first, replayed = await _post(runtime, path, body, key)
    assert (status, replayed) == (200, False), first
    provider.forget()
    status, again, replayed = await _post(runtime, path, body, key)
    assert (status, replayed) == (200, True)
    assert _texts(again) == _texts(first) != ""
    assert again.splitlines()[-2:] == first.splitlines()[-2:]
    assert provider.requests == []


async def test_duplicates_in_flight_wait_for_the_first(
    runtime: RuntimeProcess, provider: StubProvider
) -> None:
    provider.forget()
    body = {"model": "stub/words;chunks=3;delay_ms=100", "messages": MESSAGES}
    answers = await asyncio.gather(
        *(_post(runtime, "/v1/chat/completions", body, "crowd") for _ in range(10))
    )
    assert {status for status, _, _ in answers} == {200}
    assert len({text for _, text, _ in answers}) == 1
    assert sorted(replayed for _, _, replayed in answers) == [False] + [True] * 9
    assert len(provider.requests) == 1


async def test_a_key_is_for_one_content_and_one_path(runtime: RuntimeProcess) -> None:
    assert (await _post(runtime, EXECUTE, {"message": "x"}, "mine"))[0] == 200
    status, problem, _ = await _post(runtime, EXECUTE, {"message": "y"}, "mine")
    assert (status, json.loads(problem)["code"]) == (422, "idempotency_conflict")
    body = {"model": "assistant", "messages": MESSAGES}
    assert (await _post(runtime, "/v1/chat/completions", body, "mine"))[0] == 200


@pytest.mark.parametrize("key", ["two words", "x" * 256])
async def test_a_key_that_cannot_be_one_is_refused(runtime: RuntimeProcess, key: str) -> None:
    status, problem, _ = await _post(runtime, EXECUTE, {"message": "x"}, key)
    assert (status, json.loads(problem)["code"]) == (400, "invalid_idempotency_key")


async def test_what_failed_before_anything_was_spent_may_be_tried_again(
    runtime: RuntimeProcess,
) -> None:
    body = {"model": "stub/busy-once;times=1;chunks=1", "messages": MESSAGES}
    status, _, _ = await _post(runtime, "/v1/chat/completions", body, "again")
    assert status == 502
    status, _, replayed = await _post(runtime, "/v1/chat/completions", body, "again")
    assert (status, replayed) == (200, False)


async def test_a_failure_in_the_middle_tells_what_was_spent(runtime: RuntimeProcess) -> None:
    body = {"model": "stub/cut", "messages": MESSAGES, "stream": True}
    async with client(runtime) as http, http.post("/v1/chat/completions", json=body) as response:
        assert response.status == 200
        text = await response.text()
    last = json.loads(text.strip().splitlines()[-1].removeprefix("data: "))
    assert last["error"]["code"] == "model_unavailable"
    assert last["usage"]["output_tokens"] > 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(
            "/v1/agents/broken/execute", {"message": "x"}, id="a turn that began a session"
        ),
        pytest.param(
            "/v1/chat/completions",
            {"model": "stub/cut", "messages": MESSAGES},
            id="a chat completion of a model",
        ),
        pytest.param("/v1/responses", {"model": "broken", "input": "x"}, id="a response"),
    ],
)
async def test_a_failure_is_told_again_with_what_was_spent(
    runtime: RuntimeProcess, path: str, body: dict[str, Any]
) -> None:
    first, second = [await _post(runtime, path, body, "spent") for _ in range(2)]
    assert (first[0], second[0], second[2]) == (502, 502, True)
    assert second[1] == first[1]
    assert json.loads(second[1])["usage"]["output_tokens"] > 0


async def test_answers_that_are_told_again_are_no_failures_in_the_log(
    runtime: RuntimeProcess,
) -> None:
    for again in (False, True):
        status, _, replayed = await _post(runtime, EXECUTE, {"message": "x"}, "told-again")
        assert (status, replayed) == (200, again)

    assert "Background work failed" not in runtime.log_path.read_text()
