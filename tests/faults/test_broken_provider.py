"""However a provider fails, a call ends in time, in the right error, and is settled."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

import aiohttp

from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_runtime.store.spending import Account
from tests.support.deadline import until
from tests.support.fault_table import FaultTable
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.runtime.places import Place, embedded, prices, shared, stubbed
from tests.support.runtime_events import chunks, events
from tests.support.runtime_process import agent, client, document
from tests.support.stub_provider import StubProvider

TIMEOUT_SECONDS = 5
ANSWER_SECONDS = 45.0
LIMIT = Decimal(1)


@dataclass(frozen=True)
class Failure:
    """How a model's call ends; `charged` tells that the provider had begun to answer."""

    status: int
    code: str
    charged: bool = False
    retry_after: str | None = None


FAILURES = {
    "stub/hang": Failure(504, "model_timeout", charged=True),
    "gone/words": Failure(502, "model_unavailable"),
    "stub/rate-limited;retry_after=7": Failure(429, "model_rate_limited", retry_after="7"),
    "stub/silent": Failure(504, "model_timeout", charged=True),
    "stub/cut": Failure(502, "model_unavailable", charged=True),
    "stub/garbage": Failure(502, "model_garbage", charged=True),
    "stub/wrong-shape": Failure(502, "model_garbage", charged=True),
    "stub/oversized": Failure(502, "model_garbage", charged=True),
    "stub/endless": Failure(502, "model_garbage", charged=True),
    "stub/ends-early": Failure(502, "model_unavailable", charged=True),
    "stub/error-frame": Failure(502, "model_unavailable", charged=True),
    "stub/html": Failure(502, "model_garbage"),
    "stub/redirect": Failure(502, "model_unavailable"),
    "stub/error": Failure(502, "model_unavailable"),
    "stub/unauthorized": Failure(502, "model_unauthorized"),
    "stub/unknown": Failure(404, "unknown_model"),
    "stub/context": Failure(400, "model_invalid_request"),
}
ONE_OF_EACH = 3
"""So many of the first are visited by runs that do not visit all."""

USER = [{"role": "user", "content": "hello"}]


async def test_every_failure_of_a_provider_ends_in_time_and_is_settled_on_the_embedded_store(
    tmp_path: Path, provider: StubProvider, faults: FaultTable
) -> None:
    await _assert_settled(embedded(tmp_path), provider, faults, "embedded store")


async def test_every_failure_of_a_provider_ends_in_time_and_is_settled_on_postgresql(
    tmp_path: Path, postgres: Postgres, provider: StubProvider, faults: FaultTable
) -> None:
    await _assert_settled(await shared(tmp_path, postgres), provider, faults, "PostgreSQL")


async def _assert_settled(
    place: Place, provider: StubProvider, faults: FaultTable, store: str
) -> None:
    failures = list(FAILURES.items()) if faults.every else list(FAILURES.items())[:ONE_OF_EACH]
    _configure(place, provider)
    with place.process() as runtime:
        async with client(runtime) as http:
            calls = [
                way(http, model, failure)
                for model, failure in failures
                for way in (_assert_turn, _assert_stream, _assert_chat, _assert_direct)
            ]
            await asyncio.gather(*calls)
            await until(partial(_nothing_is_reserved, place), "everything is settled")
        assert "Traceback" not in runtime.log_path.read_text()
    (balance,) = await place.balances(Account("total", "", {}))
    assert Decimal(0) < balance.used["cost"] <= LIMIT
    faults.add(f"the provider fails, {store}", len(calls))


def _configure(place: Place, provider: StubProvider) -> None:
    agents = [agent(_name(model), model=model) for model in FAILURES]
    bounds = Allowance(cost=str(LIMIT), tokens=10_000_000)
    sections = stubbed(provider, (), timeoutSeconds=TIMEOUT_SECONDS, maxRetries=0)
    refusing = sections["providers"][0].model_copy(
        update={"name": "gone", "base_url": f"http://127.0.0.1:{free_port()}/v1"}
    )
    place.follow(
        document("1.0.0", *agents),
        budgets=Budgets(session=bounds, agent_per_day=bounds, day=bounds, total=bounds),
        providers=(*sections["providers"], refusing),
        prices=prices(FAILURES),
    )


def _name(model: str) -> str:
    return model.partition(";")[0].replace("/", "-")


async def _assert_turn(http: aiohttp.ClientSession, model: str, failure: Failure) -> None:
    path = f"/v1/agents/{_name(model)}/execute"
    async with _in_time(model), http.post(path, json={"message": "hello"}) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (failure.status, failure.code), model
    assert response.headers.get("Retry-After") == failure.retry_after, model
    assert ("usage" in problem) == failure.charged, (model, problem)
    async with http.get(f"/v1/sessions/{problem['session_id']}") as response:
        session = await response.json()
    assert (session["status"], session["messages"]["data"]) == ("error", []), model


async def _assert_stream(http: aiohttp.ClientSession, model: str, failure: Failure) -> None:
    path = f"/v1/agents/{_name(model)}/execute/stream"
    async with _in_time(model), http.post(path, json={"message": "hello"}) as response:
        name, told = (await events(response))[-1]
    assert (name, told["code"]) == ("error", failure.code), model
    assert ("usage" in told) == failure.charged, (model, told)


async def _assert_chat(http: aiohttp.ClientSession, model: str, failure: Failure) -> None:
    """An agent asked in OpenAI's way, streaming."""
    await _assert_completion(http, _name(model), failure)


async def _assert_direct(http: aiohttp.ClientSession, model: str, failure: Failure) -> None:
    """The model itself, whose stream is passed through."""
    await _assert_completion(http, model, failure)


async def _assert_completion(http: aiohttp.ClientSession, model: str, failure: Failure) -> None:
    body = {"model": model, "stream": True, "messages": USER}
    async with _in_time(model), http.post("/v1/chat/completions", json=body) as response:
        if response.status != 200:
            error = (await response.json())["error"]
            assert response.status == failure.status, (model, error)
        else:
            error = (await chunks(response))[-1]["error"]
    assert error["code"] == failure.code, (model, error)


@asynccontextmanager
async def _in_time(model: str) -> AsyncIterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < ANSWER_SECONDS, model


async def _nothing_is_reserved(place: Place) -> bool:
    (balance,) = await place.balances(Account("total", "", {}))
    return not any(balance.reserved.values())
