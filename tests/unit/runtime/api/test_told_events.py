"""What happens is told by events whose data is what the documents say, whoever asks for what."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import pytest

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_api.v1alpha1.models import CircuitBreaker
from bulkhead_runtime.events.types import EVENT_TYPES
from tests.support.deadline import until
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document
from tests.support.stub_provider import StubProvider

AGENTS = (
    agent("assistant"),
    agent("failing", model="stub/error"),
    agent("relentless", model="stub/error", fallbacks=("offline/echo",)),
    agent("recovering", model="weak/busy-once"),
)
DENY = {"name": "nothing", "rules": [{"name": "none", "effect": "Deny", "match": ["*"]}]}


@pytest.fixture(scope="module")
def runtime(
    tmp_path_factory: pytest.TempPathFactory, provider: StubProvider
) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    stub = ProviderConfig(
        name="stub", type="OpenAICompatible", base_url=provider.base_url, max_retries=0
    )
    easily = CircuitBreaker(failures=1, open_seconds=1)
    weak = stub.model_copy(update={"name": "weak", "circuit_breaker": easily})
    files.follow(
        (document("1.0.0", *AGENTS), 100),
        providers=(stub, weak),
        budgets=Budgets(agent_per_day=Allowance(tokens=4_000)),
    )
    with RuntimeProcess(files) as process:
        yield process


@pytest.fixture
async def http(runtime: RuntimeProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with client(runtime) as session:
        yield session


async def _say(
    http: aiohttp.ClientSession, name: str = "assistant", message: str = "hello", **headers: str
) -> Any:
    path = f"/v1/agents/{name}/execute"
    async with http.post(path, json={"message": message}, headers=headers) as response:
        return await response.json(content_type=None)


async def _fail(http: aiohttp.ClientSession) -> None:
    await _say(http, "failing")


async def _fall_back(http: aiohttp.ClientSession) -> None:
    await _say(http, "relentless")


async def _overspend(http: aiohttp.ClientSession) -> None:
    await _say(http, message="x" * 5_000)


async def _recover(http: aiohttp.ClientSession) -> None:
    async def answers() -> bool:
        return "answer" in await _say(http, "recovering")

    await until(answers, "the provider is asked again")


async def _export_and_delete(http: aiohttp.ClientSession) -> None:
    session = f"/v1/sessions/{(await _say(http))['session_id']}"
    async with http.get(f"{session}/export") as response:
        assert await response.read()
    async with http.delete(session) as response:
        assert response.status == 204


async def _change_policies(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/tool-policies", json=DENY) as response:
        assert response.status == 201
    async with http.delete(f"/v1/tool-policies/{DENY['name']}") as response:
        assert response.status == 204


async def _repeat(http: aiohttp.ClientSession) -> None:
    for _ in range(2):
        await _say(http, **{"Idempotency-Key": "once"})
    await _say(http, "failing", **{"Idempotency-Key": "in-vain"})


Do = Callable[[aiohttp.ClientSession], Awaitable[None]]
TOLD: list[tuple[Do, tuple[str, ...]]] = [
    (_fail, ("request.error",)),
    (_fall_back, ("model.fallback",)),
    (_overspend, ("budget.refused",)),
    (_recover, ("model.circuit_open", "model.circuit_closed")),
    (_export_and_delete, ("session.exported", "session.archived")),
    (_change_policies, ("policy.changed",)),
    (_repeat, ("idempotency.start", "idempotency.complete", "idempotency.hit", "idempotency.fail")),
]


@pytest.mark.parametrize(("do", "types"), TOLD, ids=[", ".join(types) for _, types in TOLD])
async def test_what_happens_is_told(http: aiohttp.ClientSession, do: Do, types: tuple[str]) -> None:
    await do(http)
    found: list[dict[str, Any]] = []

    async def told() -> bool:
        asked = [("type", name) for name in types]
        async with http.get("/v1/runtime/events", params=asked) as response:
            found[:] = (await response.json())["data"]
        return {event["type"] for event in found} == set(types)

    await until(told, "the events are stored")


async def test_no_event_holds_what_the_documents_do_not_name(http: aiohttp.ClientSession) -> None:
    await _say(http)
    events: list[dict[str, Any]] = []

    async def told() -> bool:
        async with http.get("/v1/runtime/events", params={"limit": 200}) as response:
            events[:] = (await response.json())["data"]
        return "request.complete" in {event["type"] for event in events}

    await until(told, "some events are stored")
    for event in events:
        text = EVENT_TYPES[event["type"]]
        if event["type"] == "request.error":
            text += EVENT_TYPES["request.complete"]
        unnamed = set(event["data"]) - set(re.findall(r"\w+", text))
        assert not unnamed, event["type"]
