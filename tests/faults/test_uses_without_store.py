"""What no budget bounds asks the store nothing before it runs: an outage must not hide its use."""

import asyncio

import aiohttp

from bulkhead_api.runtime_config import ProviderConfig
from tests.support.deadline import until
from tests.support.postgres import Postgres
from tests.support.runtime.places import Place
from tests.support.runtime_process import client
from tests.support.stub_provider import StubProvider

HELLO = {"model": "stub/words", "messages": [{"role": "user", "content": "hello"}]}


async def _status(http: aiohttp.ClientSession) -> int:
    async with http.post("/v1/chat/completions", json=HELLO) as response:
        return response.status


async def _uses(http: aiohttp.ClientSession) -> int:
    async with http.get("/v1/usage") as response:
        if response.status != 200:
            return -1
        return int((await response.json())["total"]["uses"])


async def test_a_store_that_is_away_ends_what_asks_it_nothing_and_no_use_is_lost(
    shared_place: Place, postgres: Postgres, provider: StubProvider
) -> None:
    stub = ProviderConfig(name="stub", type="OpenAICompatible", base_url=provider.base_url)
    shared_place.follow(providers=(stub,), default_model="stub/words")
    answered = 0
    async with shared_place.replicas(1) as (process,), client(process) as http:

        async def is_counted() -> bool:
            return await _uses(http) == answered

        async def is_refused() -> bool:
            nonlocal answered
            status = await _status(http)
            answered += status == 200
            return status == 503

        async def is_answered() -> bool:
            nonlocal answered
            before = answered
            await is_refused()
            return answered > before

        await until(is_answered, "the runtime answers")
        await until(is_counted, "its first use is in the ledger")
        await asyncio.to_thread(postgres.stop)
        await until(is_refused, "nothing more begins")
        await asyncio.to_thread(postgres.start)
        await until(is_counted, "every answer is in the ledger")
        await until(is_answered, "work goes on")
        await until(is_counted, "and is in the ledger, too")
