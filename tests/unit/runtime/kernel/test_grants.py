"""Images call models through the runtime: on their execution's account, while it lasts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bulkhead_api.runtime_config import PackageContent, PackageDocument
from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.grants import Grant
from bulkhead_runtime.models.port import ModelMessage, ModelRequest, Part, TextDelta
from bulkhead_runtime.runtime import Runtime
from tests.support import stub_image
from tests.support.deadline import until
from tests.support.runtime.in_process import running, say, stubbed
from tests.support.runtime_process import KEY, RuntimeFiles, RuntimeProcess, client
from tests.support.stub_image import HELLO, Answer, StubImage
from tests.support.stub_provider import StubProvider


def imaged(**agent: Any) -> PackageDocument:
    content = {
        "agents": [{"name": "assistant", **agent}],
        "image": {"reference": "registry.example.com/agents/helper:1", "maxCostPerCall": "0"},
    }
    return PackageDocument.holding("helper", "1.0.0", PackageContent.model_validate(content))


@dataclass
class Served:
    runtime: Runtime
    image: StubImage

    async def asked(self) -> str:
        """Wait until the image is asked; return its token."""

        async def seen() -> bool:
            return bool(self.image.requests)

        await until(seen, "the image is asked")
        access = self.image.requests[-1]["models"]
        assert access["base_url"] == "http://127.0.0.1:8080/package/v1"
        return str(access["token"])

    async def grant(self) -> Grant:
        return self.runtime.grants.find(await self.asked())


@asynccontextmanager
async def served(
    directory: Path, provider: StubProvider, mode: str, *, agent: Any = None, **fields: Any
) -> AsyncIterator[Served]:
    """Run a runtime whose image holds its answer until it is told to end it."""
    async with stub_image.running() as image:
        image.script = [Answer([*HELLO[:1]], holds=True)]
        sections = stubbed(provider, mode, **fields)
        async with running(
            directory,
            imaged(**(agent or {})),
            endpoints={"1.0.0": image.endpoint},
            pod_ip="127.0.0.1",
            **sections,
        ) as runtime:
            yield Served(runtime, image)


def request(model: str) -> ModelRequest:
    return ModelRequest(model, (ModelMessage("user", "hi"),), 100, deadline=0.0)


async def called(grant: Grant, model: str) -> str:
    texts: list[str] = []

    async def take(part: Part) -> None:
        if isinstance(part, TextDelta):
            texts.append(part.text)

    await grant.call(request(model), take)
    return "".join(texts)


async def ended(turn: "asyncio.Task[Any]") -> None:
    turn.cancel()
    with pytest.raises((asyncio.CancelledError, Problem)):
        await turn


async def lines(runtime: Runtime) -> list[tuple[str, Decimal | None, str]]:
    page = await runtime.store.ledger(since=0, until=2**52, principal=None, limit=9, cursor=None)
    return [(one.model, one.cost, one.agent) for one in page.items]


async def test_a_model_that_an_image_calls_is_paid_by_its_execution(
    tmp_path: Path, provider: StubProvider
) -> None:
    async with served(tmp_path, provider, "words") as made:
        turn = asyncio.create_task(say(made.runtime, "hello"))
        grant = await made.grant()
        assert await called(grant, "stub/words")
        await ended(turn)

        async def settled() -> bool:
            return len(await lines(made.runtime)) == 2

        await until(settled, "both calls are in the ledger")
        found = await lines(made.runtime)
    assert ("stub/words", Decimal("0.000017"), "assistant") in found


async def test_a_token_is_worth_nothing_once_its_call_has_ended(
    tmp_path: Path, provider: StubProvider
) -> None:
    async with served(tmp_path, provider, "words") as made:
        turn = asyncio.create_task(say(made.runtime, "hello"))
        token = await made.asked()
        await ended(turn)
        with pytest.raises(Problem) as caught:
            made.runtime.grants.find(token)
    assert (caught.value.status, caught.value.code) == (401, "grant_ended")


async def test_a_call_that_outlives_its_image_is_ended_and_still_counted(
    tmp_path: Path, provider: StubProvider
) -> None:
    async with served(tmp_path, provider, "words;chunks=1000;delay_ms=50") as made:
        turn = asyncio.create_task(say(made.runtime, "hello"))
        grant = await made.grant()
        begun = asyncio.Event()

        async def take(_: Part) -> None:
            begun.set()

        model = "stub/words;chunks=1000;delay_ms=50"
        call = asyncio.create_task(grant.call(request(model), take))
        await begun.wait()
        await ended(turn)
        with pytest.raises(Problem) as caught:
            await call

        async def counted() -> bool:
            return model in [name for name, *_ in await lines(made.runtime)]

        await until(counted, "what it took is in the ledger")
    assert caught.value.code == "grant_ended"


async def test_an_image_may_call_what_its_agent_may_and_nothing_else(
    tmp_path: Path, provider: StubProvider
) -> None:
    agent = {"allowedModels": ["stub/words"]}
    async with served(tmp_path, provider, "words", agent=agent) as made:
        turn = asyncio.create_task(say(made.runtime, "hello"))
        grant = await made.grant()
        assert await called(grant, "stub/words")
        with pytest.raises(Problem) as caught:
            await called(grant, "stub/other")
        await ended(turn)
    assert caught.value.code == "model_denied"


async def test_an_image_never_spends_more_than_its_execution_may(
    tmp_path: Path, provider: StubProvider
) -> None:
    # Less than twelve cost, however they come one after the other.
    budgets = Budgets(total=Allowance(cost="0.00015"))
    before = len(provider.requests)
    async with served(tmp_path, provider, "words", budgets=budgets) as made:
        turn = asyncio.create_task(say(made.runtime, "hello"))
        grant = await made.grant()
        outcomes = await asyncio.gather(
            *(called(grant, "stub/words") for _ in range(12)), return_exceptions=True
        )
        refused = [one for one in outcomes if isinstance(one, Problem)]
        await ended(turn)
    assert refused
    assert {one.code for one in refused} == {"budget_exceeded"}
    assert len(provider.requests) - before == 12 - len(refused)


async def test_an_image_calls_so_many_models_at_once_and_no_more(
    tmp_path: Path, provider: StubProvider
) -> None:
    slow = "words;chunks=1000;delay_ms=50"
    async with served(tmp_path, provider, slow) as made:
        turn = asyncio.create_task(say(made.runtime, "hello"))
        grant = await made.grant()
        calls = [asyncio.create_task(called(grant, f"stub/{slow}")) for _ in range(16)]
        await asyncio.sleep(0)
        with pytest.raises(Problem) as caught:
            await called(grant, f"stub/{slow}")
        await ended(turn)
        await asyncio.gather(*calls, return_exceptions=True)
    assert (caught.value.status, caught.value.code) == (429, "too_many_calls")


async def test_a_runtime_that_does_not_know_its_address_grants_nothing(tmp_path: Path) -> None:
    async with stub_image.running() as image:
        image.script = [Answer([*HELLO])]
        endpoints = {"1.0.0": image.endpoint}
        async with running(tmp_path, imaged(), endpoints=endpoints) as runtime:
            await say(runtime, "hello")
    assert "models" not in image.requests[0]


@asynccontextmanager
async def over_http(
    directory: Path, provider: StubProvider
) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """Yield what an image has while it answers: a client, and where and with what it calls."""
    files = RuntimeFiles(directory)
    sections = stubbed(provider, "words")
    async with stub_image.running() as image:
        image.script = [Answer([*HELLO[:1]], holds=True)]
        files.follow((imaged(), 100), endpoints={"1.0.0": image.endpoint}, **sections)
        with RuntimeProcess(files, environment={"BULKHEAD_POD_IP": "127.0.0.1"}) as runtime:
            async with client(runtime) as person:
                body = {"message": "hello"}
                turn = asyncio.create_task(person.post("/v1/agents/assistant/execute", json=body))

                async def seen() -> bool:
                    return bool(image.requests)

                await until(seen, "the image is asked")
                access = image.requests[0]["models"]
                headers = {"Authorization": f"Bearer {access['token']}"}
                async with aiohttp.ClientSession(headers=headers) as caller:
                    yield caller, f"{access['base_url']}/chat/completions"
                turn.cancel()


async def test_an_image_calls_models_as_openais_clients_do(
    tmp_path: Path, provider: StubProvider
) -> None:
    body = {"model": "stub/words", "messages": [{"role": "user", "content": "hi"}]}
    async with over_http(tmp_path, provider) as (caller, url):
        async with caller.post(url, json=body) as whole:
            answer = await whole.json()
        async with caller.post(url, json={**body, "stream": True}) as stream:
            frames = await stream.text()
        async with caller.post(url, json={**body, "model": "assistant"}) as agent:
            refused = await agent.json()
        headers = {"Authorization": f"Bearer {KEY}"}
        async with caller.post(url, json=body, headers=headers) as stranger:
            denied = await stranger.json()
    assert whole.status == 200
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["total_tokens"] == 12
    assert frames.endswith("data: [DONE]\n\n")
    assert (agent.status, refused["error"]["code"]) == (404, "unknown_model")
    assert (stranger.status, denied["error"]["code"]) == (401, "grant_ended")
