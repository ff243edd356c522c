import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_api.v1alpha1.models import CircuitBreaker
from tests.support.deadline import until
from tests.support.runtime_events import chunks, events
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document
from tests.support.stub_provider import StubProvider

KEY = "sk-provider-key-that-stays-secret"
AGENTS = {
    "words": "stub/words",
    "slow": "stub/words;chunks=400;delay_ms=50",
    "garbage": "stub/garbage;delay_ms=50",
    "cut": "stub/cut;delay_ms=50",
    "hang": "hasty/hang",
    "silent": "hasty/silent",
    "limited": "stub/rate-limited;retry_after=7",
    "broken": "stub/error",
    "refusing": "stub/unauthorized",
    "missing": "stub/unknown",
    "html": "stub/html",
}


@pytest.fixture(scope="module")
def served(
    provider: StubProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    files.providers.switch({"stub": KEY.encode(), "hasty": KEY.encode()})
    agents = [agent(name, model=model) for name, model in AGENTS.items()]
    config = ProviderConfig(
        name="stub",
        type="OpenAICompatible",
        base_url=provider.base_url,
        has_credentials=True,
        # Every case asks the same provider, which mostly fails.
        circuit_breaker=CircuitBreaker(failures=1000),
    )
    hasty = config.model_copy(update={"name": "hasty", "timeout_seconds": 2})
    files.follow((document("1.0.0", *agents), 100), providers=(config, hasty))
    with RuntimeProcess(files) as process:
        yield process


REFUSING = "/v1/agents/refusing/execute"
FAILURES = {
    "answers garbage": ("garbage", 502, "model_garbage"),
    "cuts the stream": ("cut", 502, "model_unavailable"),
    "stops in the middle": ("hang", 504, "model_timeout"),
    "never answers": ("silent", 504, "model_timeout"),
    "returns 429": ("limited", 429, "model_rate_limited"),
    "returns 500": ("broken", 502, "model_unavailable"),
    "refuses the key": ("refusing", 502, "model_unauthorized"),
    "does not know the model": ("missing", 404, "unknown_model"),
    "returns a web page": ("html", 502, "model_garbage"),
}


@pytest.mark.parametrize(("name", "status", "code"), FAILURES.values(), ids=FAILURES.keys())
async def test_the_turn_ends_in_a_problem_and_is_not_remembered_when_the_model(
    served: RuntimeProcess, name: str, status: int, code: str
) -> None:
    async with client(served) as http:
        async with http.post(f"/v1/agents/{name}/execute", json={"message": "hi"}) as response:
            problem = await response.json(content_type="application/problem+json")
            retry_after = response.headers.get("Retry-After")
        async with http.get(f"/v1/sessions/{problem['session_id']}") as answer:
            session = await answer.json()
    assert (response.status, problem["code"]) == (status, code)
    assert (session["status"], session["messages"]["data"]) == ("error", [])
    assert KEY not in json.dumps(problem)
    if name == "limited":
        assert retry_after == "7"


@pytest.mark.parametrize("name", ["garbage", "cut", "hang"])
async def test_a_stream_that_fails_midway_ends_with_an_error_event(
    served: RuntimeProcess, name: str
) -> None:
    path = f"/v1/agents/{name}/execute/stream"
    async with client(served) as http, http.post(path, json={"message": "hi"}) as response:
        found = await events(response)
    assert [event for event, _ in found][:2] == ["meta", "token"]
    event, problem = found[-1]
    assert event == "error"
    assert problem["code"].startswith("model_")


@pytest.mark.parametrize("name", ["garbage", "cut", "hang"])
async def test_a_chat_stream_that_fails_midway_ends_with_openais_error(
    served: RuntimeProcess, name: str
) -> None:
    body = {
        "model": AGENTS[name],
        "stream": True,
        "messages": [{"role": "user", "content": "hi"}],
    }
    async with client(served) as http, http.post("/v1/chat/completions", json=body) as response:
        frames = await chunks(response)
    assert "[DONE]" not in frames
    assert set(frames[-1]["error"]) == {"message", "type", "param", "code"}


async def test_a_direct_stream_is_passed_through_with_our_id_and_model(
    served: RuntimeProcess,
) -> None:
    body = {
        "model": "stub/words;chunks=100",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "hi"}],
    }
    async with client(served) as http, http.post("/v1/chat/completions", json=body) as response:
        frames = await chunks(response)
    assert frames[-1] == "[DONE]"
    assert {frame["model"] for frame in frames[:-1]} == {"stub/words;chunks=100"}
    assert all(frame["id"].startswith("chatcmpl-") for frame in frames[:-1])
    assert "chatcmpl-upstream" not in {frame["id"] for frame in frames[:-1]}
    assert frames[-2]["usage"]["total_tokens"] > 0


async def test_a_denied_model_is_an_event_whether_or_not_it_would_stream(
    served: RuntimeProcess, provider: StubProvider
) -> None:
    provider.forget()
    rules = [
        {"name": "dear", "effect": "Deny", "match": ["stub/dear"]},
        {"name": "others", "effect": "Allow", "match": ["*"]},
    ]
    body = {"model": "stub/dear", "messages": [{"role": "user", "content": "hi"}]}
    listed = "/v1/runtime/events?type=model.denied"
    async with client(served) as http:
        policy = {"name": "no-dear", "rules": rules}
        async with http.post("/v1/model-policies", json=policy) as response:
            assert response.status == 201
        for number, stream in enumerate((True, False), start=1):
            call = {**body, "stream": stream}
            async with http.post("/v1/chat/completions", json=call) as response:
                assert (response.status, (await response.json())["error"]["code"]) == (
                    403,
                    "model_denied",
                )

            async def told(wanted: int = number) -> bool:
                async with http.get(listed) as response:
                    return len((await response.json())["data"]) == wanted

            await until(told, "the denial is told")
    assert not provider.requests


async def test_a_direct_call_always_carries_a_bound_on_its_output(
    served: RuntimeProcess, provider: StubProvider
) -> None:
    provider.forget()
    body = {"model": "stub/words", "messages": [{"role": "user", "content": "hi"}]}
    async with client(served) as http:
        for stream in (True, False):
            call = {**body, "stream": stream}
            async with http.post("/v1/chat/completions", json=call) as response:
                assert response.status == 200
                await response.read()
    limits = [
        seen.body.get("max_tokens") or seen.body.get("max_completion_tokens")
        for seen in provider.requests
    ]
    assert limits == [2048, 2048]


@pytest.mark.parametrize("path", ["/v1/agents/slow/execute", "/v1/agents/slow/execute/stream"])
async def test_a_client_that_leaves_cancels_the_call_and_frees_the_session(
    served: RuntimeProcess, provider: StubProvider, path: str
) -> None:
    provider.forget()
    async with client(served) as http:
        async with http.post("/v1/sessions", json={"agent": "slow"}) as response:
            session_id = (await response.json())["id"]
        body = {"message": "hi", "session_id": session_id}
        leaving = asyncio.create_task(http.post(path, json=body).__aenter__())
        assert await provider.asked()
        leaving.cancel()
        await asyncio.wait([leaving])
        if not leaving.cancelled():
            leaving.result().close()
        assert await provider.cancelled()
        session: dict[str, Any] = {"status": "executing"}
        async with asyncio.timeout(30):
            while session["status"] == "executing":
                async with http.get(f"/v1/sessions/{session_id}") as response:
                    session = await response.json()
    assert session["status"] == "interrupted"
    assert session["messages"]["data"] == []


async def test_a_rotated_provider_key_works_without_a_restart(
    served: RuntimeProcess, provider: StubProvider
) -> None:
    rotated = "sk-rotated"
    served.files.providers.switch({"stub": rotated.encode(), "hasty": rotated.encode()})
    async with client(served) as http, asyncio.timeout(30):
        seen = ""
        while seen != f"Bearer {rotated}":
            provider.forget()
            async with http.post("/v1/agents/words/execute", json={"message": "hi"}) as response:
                assert response.status == 200
            seen = provider.requests[0].headers["authorization"]


async def test_neither_key_nor_texts_reached_the_log(served: RuntimeProcess) -> None:
    body = {"message": "hi"}
    async with client(served) as http, http.post(REFUSING, json=body) as response:
        assert response.status == 502

    async def told() -> bool:
        return "model_unauthorized" in served.log_path.read_text()

    await until(told, "the failure is logged")
    log = served.log_path.read_text()
    assert KEY not in log
    assert "Traceback" not in log
