"""Ends that nobody waits for: settled together, each with its own line."""

import asyncio
from pathlib import Path

from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_runtime.kernel.background import Background
from bulkhead_runtime.kernel.deferred import DeferredSettlement
from bulkhead_runtime.kernel.execution import discard
from bulkhead_runtime.kernel.requests import StatelessRequest
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.spending import Account
from bulkhead_runtime.store.sqlite import SqliteStore
from tests.support.runtime.in_process import Trips, caller, data_of, running, stubbed
from tests.support.store_work import BOUNDS, amounts, begin, finish, line
from tests.support.stub_provider import StubProvider

AT_ONCE = 20
TOTAL = Account("total", "", {})


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
        end = finish(begin(accounts=(TOTAL,)), used=amounts(tokens="8"), lines=(line(),))
        settlement.add(end, BOUNDS, reserved=False)
    await background.finish()
    (balance,) = await trips.balances((TOTAL,))
    await trips.close()
    assert trips.counts["finish"] == 1
    assert balance.used["tokens"] == 8 * AT_ONCE


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
