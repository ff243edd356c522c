import asyncio

import aiohttp

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_api.v1alpha1.budgets import Budgets, RequestBudget
from tests.support.deadline import until
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document
from tests.support.stub_provider import StubProvider

SLOW = document("1.0.0", agent(model="stub/words;chunks=1000;delay_ms=100"), agent("quick"))
EXECUTE = "/v1/agents/assistant/execute"
QUICK = "/v1/agents/quick/execute"


def _provider(stub: StubProvider) -> ProviderConfig:
    return ProviderConfig(name="stub", type="OpenAICompatible", base_url=stub.base_url)


async def _statuses(responses: list[aiohttp.ClientResponse]) -> list[int]:
    return sorted(response.status for response in responses)


async def test_beyond_places_and_queue_is_refused_and_a_raised_limit_holds_at_once(
    files: RuntimeFiles, provider: StubProvider
) -> None:
    options = {"providers": (_provider(provider),)}
    tight = {"maxConcurrentAgents": 1, "maxQueueSize": 1, "maxExecutionTimeSeconds": 90}
    files.follow((SLOW, 100), limits=tight, **options)
    provider.forget()
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            running = asyncio.create_task(http.post(EXECUTE, json={"message": "x"}).__aenter__())
            assert await provider.asked()
            waiting = asyncio.create_task(http.post(QUICK, json={"message": "x"}).__aenter__())
            await _until_queued(runtime, 1)
            async with http.post(QUICK, json={"message": "x"}) as refused:
                problem = await refused.json(content_type=None)

            assert (refused.status, problem["code"]) == (429, "queue_full")
            assert int(refused.headers["Retry-After"]) >= 1
            files.follow((SLOW, 100), limits={**tight, "maxConcurrentAgents": 2}, **options)
            assert (await waiting).status == 200
            running.cancel()


async def test_beyond_the_rate_is_refused_with_a_time_to_come_back(files: RuntimeFiles) -> None:
    files.follow((document(), 100), limits={"rateLimitPerMinute": 3})
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            answers = []
            for _ in range(5):
                async with http.post(EXECUTE, json={"message": "x"}) as response:
                    answers.append((response.status, response.headers.get("Retry-After")))
    assert [status for status, _ in answers] == [200, 200, 200, 429, 429]
    assert 1 <= int(answers[-1][1] or 0) <= 61


async def test_an_execution_that_takes_too_long_ends_with_an_error(
    files: RuntimeFiles, provider: StubProvider
) -> None:
    limits = {"maxExecutionTimeSeconds": 3}
    files.follow((SLOW, 100), limits=limits, providers=(_provider(provider),))
    provider.forget()
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:

            async def warm() -> bool:
                async with http.post(QUICK, json={"message": "x"}) as response:
                    return response.status == 200

            # The first execution loads what is imported late, which counts as its time.
            await until(warm, "an execution ends in time")
            async with http.post(EXECUTE, json={"message": "x"}) as response:
                problem = await response.json(content_type=None)
            async with http.get(f"/v1/sessions/{problem['session_id']}") as answer:
                session = await answer.json()
    assert response.status == 504
    assert problem["code"] in {"execution_timeout", "model_timeout"}
    assert session["status"] == "error"
    assert await provider.cancelled()


async def test_two_messages_to_one_session_at_once_run_one_after_the_other(
    files: RuntimeFiles, provider: StubProvider
) -> None:
    steady = document("1.0.0", agent(model="stub/words;chunks=5;delay_ms=20"))
    files.follow((steady, 100), providers=(_provider(provider),))
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            async with http.post("/v1/sessions", json={"agent": "assistant"}) as response:
                session_id = (await response.json())["id"]
            bodies = [{"message": f"m{number}", "session_id": session_id} for number in range(4)]
            answers = await asyncio.gather(*(http.post(EXECUTE, json=body) for body in bodies))
            async with http.get(f"/v1/sessions/{session_id}") as response:
                session = await response.json()
    assert [answer.status for answer in answers] == [200] * 4
    roles = [(item["turn"], item["role"]) for item in session["messages"]["data"]]
    assert roles == [(turn, role) for turn in range(1, 5) for role in ("user", "assistant")]


async def test_a_full_pool_refuses_turns_until_sessions_are_deleted(files: RuntimeFiles) -> None:
    files.follow(
        (document(), 100),
        pool={"maxMemoryMB": 1},
        limits={"maxInputCharacters": 300_000},
        budgets=Budgets(request=RequestBudget(tokens=1_000_000)),
    )
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            sessions = []
            for _ in range(10):
                async with http.post(EXECUTE, json={"message": "x" * 200_000}) as response:
                    answer = await response.json(content_type=None)
                    if response.status != 200:
                        break
                    sessions.append(answer["session_id"])
            assert (response.status, answer["code"]) == (507, "pool_full")
            assert "maxMemoryMB is 1" in answer["detail"]
            assert sessions

            for session_id in sessions:
                async with http.delete(f"/v1/sessions/{session_id}") as response:
                    assert response.status == 204
            async with http.post(EXECUTE, json={"message": "x"}) as response:
                assert response.status == 200


async def _until_queued(runtime: RuntimeProcess, count: int) -> None:
    async with aiohttp.ClientSession(runtime.internal_url) as http, asyncio.timeout(30):
        text = ""
        while f"bulkhead_executions_queued {count}.0" not in text:
            async with http.get("/metrics") as response:
                text = await response.text()
