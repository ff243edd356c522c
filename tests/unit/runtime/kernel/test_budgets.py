"""Money and tokens: reserved before, settled after, exact for any number of callers at once."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bulkhead_api.v1alpha1.budgets import Allowance, Budgets, BudgetStep, RequestBudget
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.execution import Event, Started
from bulkhead_runtime.kernel.requests import DirectRequest, PassthroughRequest, TurnRequest
from bulkhead_runtime.models.port import ModelMessage, ModelRequest, Part
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.port import PoolBounds
from bulkhead_runtime.store.spending import Account, Balance
from tests.support.runtime.in_process import caller, heard, running, say, stubbed
from tests.support.runtime_process import agent, document
from tests.support.stub_provider import StubProvider

WORDS = "words"
COST = Decimal("0.000017")
"""Of one answer of the stub: 7 input tokens and 5 words, at 1 and 2 millionths of a dollar."""

TOTAL = Account("total", "", {})
FRUGAL = document("1.0.0", agent(max_output_tokens=8))
"""Its calls are so cheap at most that several have room at once."""


HI = ModelRequest("stub/words", (ModelMessage("user", "hi"),), 100, 0.0)
STREAM = PassthroughRequest(
    model="stub/words",
    body={"messages": [{"role": "user", "content": "hi"}]},
    answer_id="chatcmpl-1",
    include_usage=False,
    messages=HI.messages,
    max_output_tokens=100,
    caller=caller(),
)


async def _forget(_: Part | bytes) -> None:
    """Take an answer that nobody looks at."""


async def _balance(runtime: Runtime, account: Account = TOTAL) -> Balance:
    (balance,) = await runtime.store.balances((account,))
    return balance


async def _refusal(runtime: Runtime, message: str = "hello") -> Problem:
    with pytest.raises(Problem) as caught:
        await say(runtime, message)
    return caught.value


async def test_an_answer_is_settled_to_the_millionth_and_nothing_stays_reserved(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(cost="1"))
    async with running(tmp_path, **stubbed(provider, WORDS, budgets=budgets)) as runtime:
        result = await say(runtime, "hello")
        balance = await _balance(runtime)
    assert Decimal(result.usage.cost or 0) == COST
    assert balance.used["cost"] == COST
    assert balance.used["tokens"] == 12
    assert balance.used["turns"] == 1
    assert balance.reserved.get("cost", 0) == 0


async def test_200_callers_at_once_never_spend_more_than_the_budget(
    tmp_path: Path, provider: StubProvider
) -> None:
    dollars = 100 * COST  # half of what they want, however they come one after the other
    budgets = Budgets(total=Allowance(cost=str(dollars)))
    limits = {"maxConcurrentAgents": 100, "maxQueueSize": 200}
    fields = stubbed(provider, WORDS, budgets=budgets, limits=limits)
    before = len(provider.requests)
    async with running(tmp_path, FRUGAL, **fields) as runtime:

        async def call() -> str:
            try:
                await say(runtime, "hello")
            except Problem as problem:
                return problem.code
            return "answered"

        outcomes = await asyncio.gather(*(call() for _ in range(200)))
        balance = await _balance(runtime)
        ledger = await runtime.store.ledger(
            since=0, until=2**52, principal=None, limit=200, cursor=None
        )
    answered = outcomes.count("answered")
    assert set(outcomes) == {"answered", "budget_exceeded"}
    assert len(provider.requests) - before == answered
    assert balance.used["cost"] == COST * answered <= dollars
    assert balance.reserved.get("cost", 0) == 0
    assert sum(line.cost or 0 for line in ledger.items) == balance.used["cost"]


async def test_the_answer_is_cut_to_what_the_budget_leaves(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(tokens=400))
    async with running(tmp_path, **stubbed(provider, WORDS, budgets=budgets)) as runtime:
        await say(runtime, "hello")
    asked = provider.requests[-1].body["max_tokens"]
    assert 16 <= asked < 400


async def test_a_budget_without_room_names_account_dimension_and_renewal(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(agent_per_day=Allowance(tokens=20))
    async with running(tmp_path, **stubbed(provider, WORDS, budgets=budgets)) as runtime:
        refused = await _refusal(runtime)
    assert (refused.status, refused.code) == (429, "budget_exceeded")
    assert "spec.budgets.agentPerDay.tokens" in refused.message
    assert "20 of 20 tokens" in refused.message
    assert "'assistant'" in refused.message
    renewed = datetime.now(UTC) + timedelta(seconds=float(refused.retry_after or 0))
    around = timedelta(seconds=30)
    assert (renewed + around).date() - (renewed - around).date() == timedelta(days=1)


async def test_a_budget_that_never_renews_is_not_worth_trying_again(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(tokens=20))
    async with running(tmp_path, **stubbed(provider, WORDS, budgets=budgets)) as runtime:
        refused = await _refusal(runtime)
    assert (refused.status, refused.retry_after) == (402, None)


async def test_what_work_under_way_holds_is_worth_trying_again_until_it_is_used(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(day=Allowance(turns=1))
    async with running(tmp_path, **stubbed(provider, "hang", budgets=budgets)) as runtime:
        before = len(provider.requests)
        first = asyncio.create_task(say(runtime, "hello"))
        assert await provider.asked(before + 1)
        meanwhile = await _refusal(runtime)
        first.cancel()
        await asyncio.wait([first])
        await runtime.background.finish()
        afterwards = await _refusal(runtime)
    assert (meanwhile.status, meanwhile.code) == (429, "budget_exceeded")
    assert meanwhile.retry_after == 5
    assert "Work under way holds the rest" in meanwhile.message
    assert "renews at 00:00 UTC" in afterwards.message


async def test_a_refused_turn_leaves_no_session_and_nothing_reserved(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(tokens=20))
    async with running(tmp_path, **stubbed(provider, WORDS, budgets=budgets)) as runtime:
        refused = await _refusal(runtime)
        assert refused.session_id is None
        assert refused.spent is None
        assert (await runtime.store.usage()).sessions == 0
        assert (await _balance(runtime)).reserved.get("tokens", 0) == 0


async def test_a_model_without_a_price_is_refused_while_a_budget_bounds_cost(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(day=Allowance(cost="5"))
    fields = {**stubbed(provider, WORDS, budgets=budgets), "prices": ()}
    async with running(tmp_path, **fields) as runtime:
        refused = await _refusal(runtime)
    assert refused.code == "price_unknown"
    assert "spec.models.prices" in refused.message


async def test_a_model_without_a_price_answers_while_nobody_bounds_cost(
    tmp_path: Path, provider: StubProvider
) -> None:
    fields = {**stubbed(provider, WORDS), "prices": ()}
    async with running(tmp_path, **fields) as runtime:
        result = await say(runtime, "hello")
    assert result.usage.cost is None
    assert result.usage.output_tokens == 5


async def test_a_request_beyond_its_own_budget_is_refused_before_anything_is_called(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(request=RequestBudget(tokens=50))
    before = len(provider.requests)
    async with running(tmp_path, **stubbed(provider, WORDS, budgets=budgets)) as runtime:
        refused = await _refusal(runtime, "x" * 100)
    assert refused.code == "budget_exceeded"
    assert "spec.budgets.request.tokens" in refused.message
    assert len(provider.requests) == before


async def test_an_agents_own_budget_narrows_the_organizations(
    tmp_path: Path, provider: StubProvider
) -> None:
    thrifty = agent(budget={"turns": 1}, tools=("calculate",))
    async with running(
        tmp_path, document("1.0.0", thrifty), **stubbed(provider, "tools")
    ) as runtime:
        refused = await _refusal(runtime, "what is 6 * 7?")
        session = await runtime.store.session(
            str(refused.session_id), "alice", PoolBounds.configured(runtime.holder.require().source)
        )
    assert refused.code == "budget_exceeded"
    assert refused.spent is not None
    assert refused.spent.output_tokens == 9
    assert (session.status, session.output_tokens) == ("error", 9)


async def test_no_room_for_tools_is_told_the_model_which_answers_without_them(
    tmp_path: Path, provider: StubProvider
) -> None:
    poor = agent(budget={"toolCalls": 1}, tools=("calculate",))
    budgets = Budgets(total=Allowance(tool_calls=1))
    fields = stubbed(provider, "tools", budgets=budgets)
    async with running(tmp_path, document("1.0.0", poor), **fields) as runtime:
        await say(runtime, "what is 6 * 7?")
        await say(runtime, "and again?")
        told = provider.requests[-1].body["messages"][-1]["content"]
        balance = await _balance(runtime)
    assert "budget_exceeded" in told
    assert "spec.budgets.total.toolCalls" in told
    assert balance.used["tool_calls"] == 1


async def test_steps_warn_once_and_tell_every_caller(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(turns=4), steps=(BudgetStep(percent=50, action="Warn"),))
    async with running(tmp_path, **stubbed(provider, WORDS, budgets=budgets)) as runtime:
        told = [(await say(runtime, "hello")).warnings for _ in range(4)]
        (event,) = await heard(runtime, "budget.warning")
    assert told[:2] == [(), ()]
    assert told[2] == ("total turns 50% of its budget used",)
    assert told[3] == ("total turns 75% of its budget used",)
    assert (event.data["scope"], event.data["percent"]) == ("total", 50)


async def test_a_stream_is_told_of_warnings_before_its_first_token(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(turns=2), steps=(BudgetStep(percent=40, action="Warn"),))
    events: list[Event] = []

    async def emit(event: Event) -> None:
        events.append(event)

    async with running(tmp_path, **stubbed(provider, WORDS, budgets=budgets)) as runtime:
        await say(runtime, "hello")
        await runtime.turns.execute(TurnRequest("assistant", "again", caller()), emit)
    assert isinstance(events[0], Started)
    assert events[0].warnings == ("total turns 50% of its budget used",)


@pytest.mark.parametrize(
    ("replicas", "per_minute"),
    [
        pytest.param(1, 2, id="of the only replica"),
        pytest.param(3, 6, id="its share, where there are three"),
    ],
)
async def test_a_step_slows_down_to_the_rate_that_is_left(
    tmp_path: Path, provider: StubProvider, replicas: int, per_minute: int
) -> None:
    budgets = Budgets(
        total=Allowance(turns=100),
        steps=(BudgetStep(percent=1, action="Throttle"),),
        throttled_requests_per_minute=per_minute,
    )
    fields = stubbed(provider, WORDS, budgets=budgets, replicas=replicas)
    async with running(tmp_path, **fields) as runtime:
        for _ in range(4):  # the first passes the step, the second shows it, two are admitted
            await say(runtime, "hello")
        refused = await _refusal(runtime)
        balance = await _balance(runtime)
        sessions = (await runtime.store.usage()).sessions
    assert (refused.status, refused.code) == (429, "budget_throttled")
    assert refused.retry_after is not None
    assert balance.used["turns"] == sessions == 4
    assert balance.reserved.get("turns", 0) == 0


async def test_a_step_changes_to_the_cheaper_model(tmp_path: Path, provider: StubProvider) -> None:
    budgets = Budgets(
        total=Allowance(turns=10),
        steps=(BudgetStep(percent=10, action="CheaperModel"),),
        cheaper_model="offline/echo",
    )
    async with running(tmp_path, **stubbed(provider, WORDS, budgets=budgets)) as runtime:
        first = await say(runtime, "hello")
        second = await say(runtime, "hello", first.session_id)
    assert (first.model, second.model) == ("stub/words", "offline/echo")


@pytest.mark.parametrize("way", ["part by part", "byte for byte"])
async def test_a_step_changes_the_model_that_a_client_addresses(
    tmp_path: Path, provider: StubProvider, way: str
) -> None:
    budgets = Budgets(
        total=Allowance(turns=10),
        steps=(BudgetStep(percent=10, action="CheaperModel"),),
        cheaper_model="stub/words;chunks=1",
    )
    async with running(tmp_path, **stubbed(provider, WORDS, budgets=budgets)) as runtime:
        await say(runtime, "hello")
        assert runtime.direct.can_pass_through("stub/words")
        if way == "byte for byte":
            await runtime.direct.pass_through(STREAM, _forget)
        else:
            await runtime.direct.call(DirectRequest(HI, caller()), _forget)
        assert provider.requests[-1].body["model"] == "words;chunks=1"


async def test_nothing_goes_byte_for_byte_while_the_cheaper_model_cannot(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(cheaper_model="offline/echo")
    async with running(tmp_path, **stubbed(provider, WORDS, budgets=budgets)) as runtime:
        assert not runtime.direct.can_pass_through("stub/words")


async def test_direct_calls_and_agents_draw_on_the_same_account(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(turns=2))
    async with running(tmp_path, **stubbed(provider, WORDS, budgets=budgets)) as runtime:
        await say(runtime, "hello")
        usage = await runtime.direct.call(DirectRequest(HI, caller()), _forget)
        refused = await _refusal(runtime)
    assert usage.output_tokens == 5
    assert refused.code == "budget_exceeded"


async def test_what_a_failed_stream_took_is_told_and_settled(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(cost="1"))
    async with running(tmp_path, **stubbed(provider, "cut", budgets=budgets)) as runtime:
        refused = await _refusal(runtime)
        balance = await _balance(runtime)
    assert refused.status == 502
    assert refused.spent is not None
    assert refused.spent.cost is not None
    assert Decimal(refused.spent.cost) == balance.used["cost"] > 0
    assert balance.reserved.get("cost", 0) == 0


async def test_a_client_that_leaves_pays_for_what_was_begun_and_keeps_nothing_reserved(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(tokens=100_000))
    provider.forget()
    async with running(tmp_path, **stubbed(provider, "hang", budgets=budgets)) as runtime:
        turn = asyncio.create_task(say(runtime, "hello"))
        assert await provider.asked()
        assert (await _balance(runtime)).reserved["tokens"] > 0
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        await runtime.background.finish()
        balance = await _balance(runtime)
    assert balance.reserved.get("tokens", 0) == 0
    assert 0 < balance.used["tokens"] < 100_000
