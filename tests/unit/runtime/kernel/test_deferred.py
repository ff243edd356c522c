"""Ends that nobody waits for: settled together, each with its own line."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_runtime.errors import Problem, store_unavailable
from bulkhead_runtime.kernel.background import Background
from bulkhead_runtime.kernel.deferred import DeferredSettlement
from bulkhead_runtime.kernel.execution import discard
from bulkhead_runtime.kernel.requests import StatelessRequest
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.spending import Account, Finish, Finished
from bulkhead_runtime.store.sqlite import SqliteStore
from tests.support.deadline import until
from tests.support.runtime.in_process import Trips, caller, data_of, running, stubbed
from tests.support.store_work import BOUNDS, amounts, begin, finish, line
from tests.support.stub_provider import StubProvider

AT_ONCE = 20
TOTAL = Account("total", "", {})
ENDS_GIVEN_UP = 5
"""How often the store is asked to take an end that is not waited for."""


def _end() -> Finish:
    return finish(begin(accounts=(TOTAL,)), used=amounts(tokens="8"), lines=(line(),))


async def _asked_at_once(runtime: Runtime) -> int:
    """Ask the agent without a session, many times at once; return the tokens that took."""
    request = StatelessRequest("assistant", (ModelMessage("user", "hello"),), caller())
    asked = (runtime.turns.answer(request, discard) for _ in range(AT_ONCE))
    results = await asyncio.gather(*asked)
    await runtime.background.finish()
    return sum(one.usage.input_tokens + one.usage.output_tokens for one in results)


async def _accounted(runtime: Runtime) -> tuple[int, int, int]:
    """Return lines of the ledger, and what the organization's account has used and reserved."""
    page = await runtime.store.ledger(since=0, until=2**62, principal=None, limit=1000, cursor=None)
    (balance,) = await runtime.store.balances((TOTAL,))
    return len(page.items), int(balance.used["tokens"]), int(balance.reserved["tokens"])


async def test_ends_that_come_together_are_one_step_of_the_store(tmp_path: Path) -> None:
    trips, background = Trips(SqliteStore(tmp_path)), Background()
    settlement = DeferredSettlement(trips, background)
    for _ in range(AT_ONCE):
        settlement.add(_end(), BOUNDS, reserved=False)
    await background.finish()
    (balance,) = await trips.balances((TOTAL,))
    await trips.close()
    assert trips.counts["finish"] == 1
    assert balance.used["tokens"] == 8 * AT_ONCE


class _Away(Trips):
    """The store behind a network that carries nothing while there is a problem."""

    problem: Problem | None = None

    async def finish(self, *told: Any) -> Finished:
        self.counts["finish"] += 1
        if self.problem is not None:
            raise self.problem
        return await self.store.finish(*told)

    async def was_asked_often(self) -> bool:
        return self.counts["finish"] >= ENDS_GIVEN_UP

    async def is_settled(self) -> bool:
        (balance,) = await self.store.balances((TOTAL,))
        return balance.used.get("tokens") == 8


async def test_what_was_used_waits_for_a_store_that_is_away_and_nothing_more_begins(
    tmp_path: Path,
) -> None:
    away, background = _Away(SqliteStore(tmp_path)), Background()
    away.problem = store_unavailable("It is away.")
    settlement = DeferredSettlement(away, background, pause_seconds=0.001)
    settlement.require_store()
    settlement.add(_end(), BOUNDS, reserved=False)
    await until(away.was_asked_often, "the store was asked again and again")
    with pytest.raises(Problem) as refused:
        settlement.require_store()
    assert (refused.value.status, refused.value.code) == (503, "store_unavailable")
    away.problem = None
    await until(away.is_settled, "what was used is counted")
    await background.finish()
    settlement.require_store()
    await away.close()


@pytest.mark.parametrize(
    ("reserved", "problem"),
    [
        pytest.param(
            False, store_unavailable("Never.", retry_after=None), id="what is refused for good"
        ),
        pytest.param(True, store_unavailable("It is away."), id="what a lease settles by itself"),
    ],
)
async def test_an_end_that_need_not_wait_is_given_up_and_stops_nobody(
    tmp_path: Path, *, reserved: bool, problem: Problem
) -> None:
    away, background = _Away(SqliteStore(tmp_path)), Background()
    away.problem = problem
    settlement = DeferredSettlement(away, background, pause_seconds=0.001)
    settlement.add(_end(), BOUNDS, reserved=reserved)
    await until(away.was_asked_often, "the store was asked five times")
    settlement.require_store()
    await background.finish()
    await away.close()
    assert away.counts["finish"] == ENDS_GIVEN_UP


async def test_the_process_ends_though_the_store_is_away(tmp_path: Path) -> None:
    away, background = _Away(SqliteStore(tmp_path)), Background()
    away.problem = store_unavailable("It is away.")
    settlement = DeferredSettlement(away, background, pause_seconds=0.001)
    settlement.add(_end(), BOUNDS, reserved=False)
    await background.finish()
    assert not await away.is_settled()
    await away.close()


async def test_answers_without_budgets_are_all_settled(
    tmp_path: Path, provider: StubProvider
) -> None:
    async with running(tmp_path, **stubbed(provider, "words")) as runtime:
        tokens = await _asked_at_once(runtime)
        assert await _accounted(runtime) == (AT_ONCE, tokens, 0)


async def test_answers_that_reserved_are_settled_one_by_one(
    tmp_path: Path, provider: StubProvider
) -> None:
    trips = Trips(SqliteStore(data_of(tmp_path)))
    budgets = Budgets(total=Allowance(tokens=1_000_000))
    fields = stubbed(provider, "words", budgets=budgets)
    async with running(tmp_path, store=trips, **fields) as runtime:
        tokens = await _asked_at_once(runtime)
        assert await _accounted(runtime) == (AT_ONCE, tokens, 0)
    assert trips.counts["finish"] == AT_ONCE
