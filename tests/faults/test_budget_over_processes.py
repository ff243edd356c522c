"""200 callers of two processes never spend more than a dollar, by the provider's own count."""

import asyncio
from collections import Counter
from decimal import Decimal
from functools import partial

import aiohttp
import pytest

from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_api.v1alpha1.models import ModelPrice
from bulkhead_runtime.store.spending import Account
from tests.support.deadline import until
from tests.support.fault_table import FaultTable
from tests.support.redis_server import Redis
from tests.support.runtime.places import Place, stubbed
from tests.support.runtime_process import RuntimeProcess, agent, client, document
from tests.support.stub_provider import StubProvider

CALLS = 200
BUDGET = Decimal(1)
MODEL = "stub/words"
PRICE = {"inputPerMillion": "500", "outputPerMillion": "1500"}
COST = Decimal("0.011")
"""Of one answer of the stub: 7 tokens in and 5 out."""

MESSAGE = "Tell me in five words what there is to tell about budgets."
TOLD = [{"role": "user", "content": MESSAGE}]
WAYS = (
    ("/v1/agents/assistant/execute", {"message": MESSAGE}),
    ("/v1/agents/assistant/execute/stream", {"message": MESSAGE}),
    ("/v1/chat/completions", {"model": MODEL, "messages": TOLD, "max_tokens": 8}),
    ("/v1/chat/completions", {"model": "assistant", "messages": TOLD, "stream": True}),
    ("/v1/responses", {"model": "assistant", "input": MESSAGE, "store": False}),
)


@pytest.mark.parametrize("killed", [False, True], ids=["Redis stays", "Redis is killed midway"])
async def test_200_callers_of_two_processes_never_spend_more_than_a_dollar(
    shared_place: Place, redis: Redis, provider: StubProvider, faults: FaultTable, killed: bool
) -> None:
    _configure(shared_place, provider)
    provider.forget()
    with shared_place.process() as one, shared_place.process() as other:
        outcomes = await _ask_all((one, other), redis if killed else None)
        await until(partial(_settled, shared_place), "everything is settled")
        listed = await _cost_of_ledger(one)
    asked = len(provider.requests)
    (balance,) = await shared_place.balances(Account("total", "", {}))
    assert {200} < set(outcomes) <= {200, 402, 429}  # what is held may be free in a moment
    assert outcomes.total() == CALLS
    assert 0 < outcomes[200] == asked
    assert balance.used["cost"] == listed == COST * asked <= BUDGET
    name = "200 calls, one dollar" + (", Redis killed" if killed else "")
    faults.add(name, CALLS, doubled=int(COST * asked > BUDGET))


def _configure(place: Place, provider: StubProvider) -> None:
    sections = stubbed(provider, ())
    sections["prices"] = (ModelPrice.model_validate({"model": MODEL, **PRICE}),)
    place.follow(
        document("1.0.0", agent(max_output_tokens=8)),
        default_model=MODEL,
        replicas=2,
        budgets=Budgets(total=Allowance(cost=str(BUDGET))),
        **sections,
    )


async def _ask_all(runtimes: tuple[RuntimeProcess, ...], victim: Redis | None) -> Counter[int]:
    unbounded = aiohttp.TCPConnector(limit=0)
    async with client(runtimes[0], connector=unbounded) as http:

        async def ask(number: int) -> int:
            if number == CALLS // 4 and victim is not None:
                await asyncio.to_thread(victim.kill)
            path, body = WAYS[number % len(WAYS)]
            url = runtimes[number % len(runtimes)].url + path
            async with http.post(url, json=body) as response:
                await response.read()
                return response.status

        return Counter(await asyncio.gather(*(ask(number) for number in range(CALLS))))


async def _settled(place: Place) -> bool:
    (balance,) = await place.balances(Account("total", "", {}))
    return not any(balance.reserved.values())


async def _cost_of_ledger(runtime: RuntimeProcess) -> Decimal:
    async with client(runtime) as http, http.get("/v1/usage") as response:
        report = await response.json()
        assert response.status == 200, report
        return Decimal(report["total"]["cost"])
