"""Input that a provider calls harmful; asking it is a use like any other."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_api.v1alpha1.models import ModelPrice
from bulkhead_api.v1alpha1.safety import Moderation, Safety
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.port import PoolBounds
from bulkhead_runtime.store.spending import Account, LedgerLine
from bulkhead_runtime.store.sqlite import SqliteStore
from tests.support.runtime.in_process import Trips, data_of, running, say, stubbed
from tests.support.stub_provider import StubProvider

MODERATED = Safety(moderation=Moderation(provider="stub"))
TOTAL = Account("total", "", {})
HELLO_TOKENS = 13
"""The most that `hello` can be: its bytes and the marks around a message."""

PRICE = ModelPrice.model_validate(
    {"model": "stub/moderation", "inputPerMillion": "1000", "outputPerMillion": "0"}
)


def _stubbed(provider: StubProvider, *prices: ModelPrice, **fields: Any) -> dict[str, Any]:
    told = stubbed(provider, "words", safety=MODERATED)
    return {**told, "prices": (*told["prices"], *prices), **fields}


async def _lines(runtime: Runtime) -> list[LedgerLine]:
    page = await runtime.store.ledger(since=0, until=2**52, principal=None, limit=100, cursor=None)
    return [line for line in page.items if line.type == "moderation"]


async def test_what_moderation_flags_reaches_no_model(
    tmp_path: Path, provider: StubProvider
) -> None:
    async with running(tmp_path, **_stubbed(provider)) as runtime:
        harmless = await say(runtime, "hello")
        before = len(provider.requests)
        with pytest.raises(Problem) as caught:
            await say(runtime, "violence", harmless.session_id)
        session = await runtime.store.session(
            str(harmless.session_id), None, PoolBounds("pool", 1, None)
        )
    assert harmless.status == "completed"
    assert caught.value.code == "content_refused"
    assert [seen.path for seen in provider.requests[before:]] == ["/v1/moderations"]
    assert (session.turns, session.messages) == (1, 2)


async def test_a_moderation_is_a_line_of_the_ledger_and_counts_in_every_budget(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(cost="1"))
    async with running(tmp_path, **_stubbed(provider, PRICE, budgets=budgets)) as runtime:
        result = await say(runtime, "hello")
        (line,) = await _lines(runtime)
        (balance,) = await runtime.store.balances((TOTAL,))
    assert (line.model, line.input_tokens) == ("stub/moderation", HELLO_TOKENS)
    assert line.cost == Decimal("0.013")
    assert balance.used["cost"] == Decimal("0.013") + Decimal("0.000017")
    assert balance.used["tokens"] == HELLO_TOKENS + 12
    assert balance.used["turns"] == 1
    assert balance.reserved.get("cost", 0) == 0
    assert Decimal(result.usage.cost or 0) == balance.used["cost"]


async def test_what_was_refused_was_moderated_and_costs_that(
    tmp_path: Path, provider: StubProvider
) -> None:
    async with running(tmp_path, **_stubbed(provider, PRICE)) as runtime:
        with pytest.raises(Problem) as caught:
            await say(runtime, "violence")
        (line,) = await _lines(runtime)
    assert caught.value.spent is not None
    assert caught.value.spent.input_tokens == line.input_tokens > 0


async def test_without_room_for_a_moderation_nobody_is_asked(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(cost="0.0129"))
    before = len(provider.requests)
    async with running(tmp_path, **_stubbed(provider, PRICE, budgets=budgets)) as runtime:
        with pytest.raises(Problem) as caught:
            await say(runtime, "hello")
    assert (caught.value.status, caught.value.code) == (402, "budget_exceeded")
    assert len(provider.requests) == before


async def test_a_moderation_without_a_price_is_refused_where_a_budget_bounds_cost(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(cost="1"))
    async with running(tmp_path, **_stubbed(provider, budgets=budgets)) as runtime:
        with pytest.raises(Problem) as caught:
            await say(runtime, "hello")
    assert (caught.value.status, caught.value.code) == (402, "price_unknown")
    assert "stub/moderation" in caught.value.message


async def test_a_moderated_turn_asks_the_store_no_oftener_than_any_other(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(cost="1"))
    trips = Trips(SqliteStore(data_of(tmp_path)))
    async with running(
        tmp_path, store=trips, **_stubbed(provider, PRICE, budgets=budgets)
    ) as runtime:
        trips.counts.clear()
        await say(runtime, "hello")
    assert {name: trips.counts[name] for name in ("begin", "reserve", "finish")} == {
        "begin": 1,
        "reserve": 0,
        "finish": 1,
    }


async def test_many_at_once_never_spend_more_on_moderation_than_the_budget(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(cost="0.1"))
    async with running(tmp_path, **_stubbed(provider, PRICE, budgets=budgets)) as runtime:

        async def call() -> str:
            try:
                await say(runtime, "violence")
            except Problem as problem:
                return problem.code
            return "answered"

        outcomes = await asyncio.gather(*(call() for _ in range(20)))
        (balance,) = await runtime.store.balances((TOTAL,))
    assert set(outcomes) == {"content_refused", "budget_exceeded"}
    assert balance.used["cost"] == outcomes.count("content_refused") * Decimal("0.016")
    assert balance.used["cost"] <= Decimal("0.1")


def _broken_moderation(on_failure: str) -> Safety:
    moderation = {"provider": "stub", "model": "garbage", "onFailure": on_failure}
    return Safety(moderation=Moderation.model_validate(moderation))


async def test_a_moderation_that_cannot_be_asked_refuses(
    tmp_path: Path, provider: StubProvider
) -> None:
    fields = _stubbed(provider, safety=_broken_moderation("Refuse"))
    async with running(tmp_path, **fields) as runtime:
        with pytest.raises(Problem) as caught:
            await say(runtime, "hello")
        lines = await _lines(runtime)
    assert (caught.value.status, caught.value.code) == (503, "moderation_unavailable")
    assert len(lines) == 1, "what was answered with garbage may be charged all the same"


async def test_a_moderation_that_was_refused_costs_nothing(
    tmp_path: Path, provider: StubProvider
) -> None:
    refusing = {"provider": "stub", "model": "error", "onFailure": "Allow"}
    fields = _stubbed(provider, safety=Safety(moderation=Moderation.model_validate(refusing)))
    async with running(tmp_path, **fields) as runtime:
        assert (await say(runtime, "hello")).status == "completed"
        assert await _lines(runtime) == []


async def test_a_moderation_that_cannot_be_asked_lets_through_where_the_spec_says_so(
    tmp_path: Path, provider: StubProvider
) -> None:
    fields = _stubbed(provider, safety=_broken_moderation("Allow"))
    async with running(tmp_path, **fields) as runtime:
        assert (await say(runtime, "hello")).status == "completed"
