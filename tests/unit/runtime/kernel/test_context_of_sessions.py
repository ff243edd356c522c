"""Long conversations: summaries of old turns, and what leaves a full context window."""

from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bulkhead_api.v1alpha1.budgets import Allowance, Budgets, RequestBudget
from bulkhead_api.v1alpha1.models import ModelPrice
from bulkhead_api.v1alpha1.sessions import Cleanup, Compaction, Sessions
from bulkhead_runtime.kernel.compaction import CHARACTERS_PER_TOKEN
from bulkhead_runtime.kernel.window import Conversation
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.port import PoolBounds, Session
from bulkhead_runtime.store.spending import Account
from bulkhead_runtime.store.sqlite import SqliteStore
from tests.support.metric_values import value_of
from tests.support.runtime.in_process import Trips, data_of, heard, running, say, stubbed
from tests.support.runtime_process import agent, document
from tests.support.stub_provider import Seen, StubProvider

SHORT = Sessions(compaction=Compaction(turns=4, summary_characters=300))
WORDS = "word0 word1 word2 word3 word4"
_MARK = "[Summary of the earlier conversation"


async def _talk(runtime: Runtime, turns: int, session: str | None = None, said: str = "") -> str:
    for number in range(turns):
        result = await say(runtime, f"question {number}{said}", session)
        session = result.session_id
        await runtime.background.finish()
    assert session is not None
    return session


async def _session(runtime: Runtime, session_id: str) -> Session:
    bounds = PoolBounds.configured(runtime.holder.require().source)
    return await runtime.store.session(session_id, "alice", bounds)


async def _said(runtime: Runtime, session_id: str) -> list[str]:
    """Return what the user said, as the history has it."""
    bounds = PoolBounds.configured(runtime.holder.require().source)
    page = await runtime.store.messages(session_id, "alice", bounds, limit=200, cursor=None)
    return [item.message.content for item in page.items if item.message.role == "user"]


def _answered(provider: StubProvider) -> list[Seen]:
    """Return the requests that had an agent answer, without those that wrote a summary."""
    return [
        seen
        for seen in provider.requests
        if not seen.body["messages"][0]["content"].startswith("You summarize")
    ]


def _told(seen: Seen) -> list[str]:
    return [message["content"] for message in seen.body["messages"]]


async def test_old_turns_become_a_summary_that_a_model_writes_after_the_turn(
    tmp_path: Path, provider: StubProvider
) -> None:
    async with running(tmp_path, **stubbed(provider, "words", sessions=SHORT)) as runtime:
        session_id = await _talk(runtime, 6)
        (event,) = await heard(runtime, "session.compacted")
        session = await _session(runtime, session_id)
        lines = await runtime.store.ledger(
            since=0, until=2**52, principal=None, limit=50, cursor=None
        )
    told = _told(_answered(provider)[-1])
    assert told[0].startswith(_MARK)
    assert told[0].endswith(WORDS)
    assert told[1:] == ["question 3", f"{WORDS} ", "question 4", f"{WORDS} ", "question 5"]
    assert (session.compactions, session.summary, session.summary_until) == (1, WORDS, 6)
    assert (event.data["by"], event.data["turns"]) == ("model", 3)
    assert [line.type for line in lines.items].count("compaction") == 1


async def test_metrics_of_the_agent_count_its_summaries_as_the_ledger_does(
    tmp_path: Path, provider: StubProvider
) -> None:
    async with running(tmp_path, **stubbed(provider, "words", sessions=SHORT)) as runtime:
        await _talk(runtime, 6)
        lines = await runtime.store.ledger(
            since=0, until=2**52, principal=None, limit=50, cursor=None
        )
        spent = value_of(runtime.metrics.instruments, "bulkhead_cost_usd_total", agent="assistant")
        told = [
            value_of(
                runtime.metrics.instruments,
                "bulkhead_tokens_total",
                agent="assistant",
                direction=direction,
            )
            for direction in ("input", "output")
        ]
    assert "compaction" in {line.type for line in lines.items}
    assert told == [
        sum(line.input_tokens for line in lines.items),
        sum(line.output_tokens for line in lines.items),
    ]
    assert spent == pytest.approx(float(sum(line.cost or 0 for line in lines.items)))


async def test_a_turn_that_began_before_a_summary_was_written_has_none_written_again(
    tmp_path: Path, provider: StubProvider
) -> None:
    slow = Compaction(turns=4, summary_characters=300, model="stub/slow;delay_ms=300")
    fields = stubbed(provider, "words;delay_ms=200", sessions=Sessions(compaction=slow))
    async with running(tmp_path, **fields) as runtime:
        session_id = await _talk(runtime, 4)
        for _ in range(3):
            await say(runtime, "at once", session_id)
        await runtime.background.finish()
        lines = await runtime.store.ledger(
            since=0, until=2**52, principal=None, limit=50, cursor=None
        )
    assert [line.type for line in lines.items].count("compaction") == 1


async def test_the_summary_is_never_part_of_the_instructions(
    tmp_path: Path, provider: StubProvider
) -> None:
    async with running(tmp_path, **stubbed(provider, "words", sessions=SHORT)) as runtime:
        await _talk(runtime, 6)
    roles = {m["role"] for m in _answered(provider)[-1].body["messages"] if _MARK in m["content"]}
    assert roles == {"user"}


async def test_a_summary_is_made_without_a_model_that_fails(
    tmp_path: Path, provider: StubProvider
) -> None:
    sessions = Sessions(
        compaction=Compaction(turns=4, summary_characters=300, model="stub/garbage")
    )
    async with running(tmp_path, **stubbed(provider, "words", sessions=sessions)) as runtime:
        session = await _session(runtime, await _talk(runtime, 6))
        (event,) = await heard(runtime, "session.compacted")
    assert event.data["by"] == "fallback"
    assert session.summary is not None
    assert "user: question 0" in session.summary
    assert len(session.summary) <= 300


async def test_a_model_is_told_as_much_to_summarize_as_it_holds(
    tmp_path: Path, provider: StubProvider
) -> None:
    provider.forget()
    window, output = 1500, 150
    fields = {**_windowed(provider, "words", window), "sessions": SHORT}
    brief = document("1.0.0", agent(max_output_tokens=16))
    async with running(tmp_path, brief, **fields) as runtime:
        await _talk(runtime, 5, said=" " + "x" * 3000)
        (event,) = await heard(runtime, "session.compacted")
    (asked,) = (seen for seen in provider.requests if seen not in _answered(provider))
    assert event.data["by"] == "model"
    assert 500 < sum(map(len, _told(asked))) <= (window - output) * CHARACTERS_PER_TOKEN


async def test_a_summary_that_no_budget_pays_is_made_without_a_model(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(session=Allowance(turns=5))
    fields = stubbed(provider, "words", sessions=SHORT, budgets=budgets)
    async with running(tmp_path, **fields) as runtime:
        session = await _session(runtime, await _talk(runtime, 5))
        (event,) = await heard(runtime, "session.compacted")
    assert event.data["by"] == "fallback"
    assert "user: question 0" in (session.summary or "")


async def test_what_a_summary_takes_counts_in_the_accounts_that_bound_it(
    tmp_path: Path, provider: StubProvider
) -> None:
    fields = stubbed(
        provider, "words", sessions=SHORT, budgets=Budgets(session=Allowance(turns=100))
    )
    async with running(tmp_path, **fields) as runtime:
        session_id = await _talk(runtime, 5)
        (event,) = await heard(runtime, "session.compacted")
        account = Account("session", session_id, {"turns": Decimal(100)})
        (balance,) = await runtime.store.balances((account,))
    assert event.data["by"] == "model"
    assert balance.used["turns"] == Decimal(6)
    assert balance.reserved.get("turns", Decimal(0)) == Decimal(0)


async def test_what_is_reserved_for_a_summary_is_held_while_its_model_writes(
    tmp_path: Path, provider: StubProvider
) -> None:
    slow = Compaction(turns=4, summary_characters=300, model="stub/slow;delay_ms=11000")
    trips = Trips(SqliteStore(data_of(tmp_path)))
    budgets = Budgets(session=Allowance(turns=100))
    fields = stubbed(provider, "words", sessions=Sessions(compaction=slow), budgets=budgets)
    async with running(tmp_path, store=trips, **fields) as runtime:
        await _talk(runtime, 5)
    assert trips.counts["renew"] >= 1


async def test_the_history_keeps_what_was_summarized(
    tmp_path: Path, provider: StubProvider
) -> None:
    async with running(tmp_path, **stubbed(provider, "words", sessions=SHORT)) as runtime:
        session_id = await _talk(runtime, 6)
        said = await _said(runtime, session_id)
    assert said == [f"question {number}" for number in range(6)]


async def test_every_turn_of_a_long_conversation_is_told_about_as_much(
    tmp_path: Path, provider: StubProvider
) -> None:
    before = len(provider.requests)
    async with running(tmp_path, **stubbed(provider, "words", sessions=SHORT)) as runtime:
        session = await _session(runtime, await _talk(runtime, 30))
    most = max(len(_told(seen)) for seen in provider.requests[before:])
    assert most <= 2 * 4 + 2
    assert session.messages == 60
    assert session.compactions >= 8


async def test_compaction_can_be_switched_off(tmp_path: Path, provider: StubProvider) -> None:
    sessions = Sessions(compaction=Compaction(enabled=False, turns=2))
    async with running(tmp_path, **stubbed(provider, "words", sessions=sessions)) as runtime:
        session = await _session(runtime, await _talk(runtime, 6))
    assert session.compactions == 0
    assert len(_told(_answered(provider)[-1])) == 11


async def test_the_oldest_messages_leave_a_full_window_and_the_newest_five_stay(
    tmp_path: Path, provider: StubProvider
) -> None:
    price = {"model": "stub/words", "inputPerMillion": "0", "outputPerMillion": "0"}
    small = (ModelPrice.model_validate({**price, "contextWindow": 3000}),)
    sessions = Sessions(compaction=Compaction(enabled=False), cleanup=Cleanup(keep_messages=5))
    fields = {**stubbed(provider, "words", sessions=sessions), "prices": small}
    async with running(tmp_path, **fields) as runtime:
        session = await _session(runtime, await _talk(runtime, 20, said=" " + "x y " * 300))
        (event,) = await heard(runtime, "session.cleaned")
        use = runtime.context_use(session)
    told = _told(_answered(provider)[-1])
    assert 5 <= len(told) < 20
    assert told[-1].startswith("question 19")
    assert event.data["messages"] > 0
    assert use in {"normal", "warning", "critical"}
    assert session.messages == 40


def _windowed(provider: StubProvider, mode: str, window: int, **fields: Any) -> dict[str, Any]:
    """Configuration of a model that holds so many tokens, in sessions without summaries."""
    price = {"model": f"stub/{mode}", "inputPerMillion": "0", "outputPerMillion": "0"}
    small = (ModelPrice.model_validate({**price, "contextWindow": window}),)
    sessions = Sessions(compaction=Compaction(enabled=False, turns=100))
    return {**stubbed(provider, mode, sessions=sessions, **fields), "prices": small}


async def test_a_window_fills_to_90_percent_then_comes_down_to_60_and_instructions_stay(
    tmp_path: Path, provider: StubProvider
) -> None:
    provider.forget()
    kind = document("1.0.0", agent(instructions="be kind", max_output_tokens=16))
    told: list[int] = []
    async with running(tmp_path, kind, **_windowed(provider, "words", 1016)) as runtime:
        session_id = None
        for _ in range(30):
            session_id = await _talk(runtime, 1, session_id, said=" " + "x" * 120)
            told.append((await _session(runtime, session_id)).context_tokens)
    a_turn = told[1] - told[0]
    cleaned = [after for before, after in pairwise(told) if after < before]
    assert 900 - a_turn < max(told) <= 900
    assert cleaned
    assert all(600 - a_turn < tokens <= 600 for tokens in cleaned)
    assert {_told(seen)[0] for seen in provider.requests} == {"be kind"}


@pytest.mark.parametrize("summary", [None, "what was said"], ids=["no summary", "a summary"])
@pytest.mark.parametrize("instructions", ["", "be kind"], ids=["no instructions", "instructions"])
def test_what_stays_at_the_front_is_all_that_nobody_said_in_the_history(
    instructions: str, summary: str | None
) -> None:
    history = (ModelMessage("user", "one"), ModelMessage("assistant", "first"))
    pending = ModelMessage("user", "two")
    conversation = Conversation(instructions, summary, history, pending)
    assert conversation.messages()[conversation.pinned :] == (*history, pending)


async def test_what_tools_return_makes_the_oldest_messages_leave_before_the_model_reads_it(
    tmp_path: Path, provider: StubProvider
) -> None:
    provider.forget()
    busy = document("1.0.0", agent(tools=["calculate"], max_output_tokens=16))
    fields = _windowed(provider, "tools;calls=30", 1000)
    async with running(tmp_path, busy, **fields) as runtime:
        session = await _session(runtime, await _talk(runtime, 4, said=" " + "x" * 1200))
        said = await _said(runtime, session.id)
    asked = [[text for text in _told(seen) if "question" in text] for seen in provider.requests]
    both = list(zip(asked[::2], asked[1::2], strict=True))
    assert [after[-1][:10] for _, after in both] == [f"question {number}" for number in range(4)]
    assert any(len(after) < len(before) for before, after in both), "nothing left within a turn"
    assert all(_whole(seen) for seen in provider.requests)
    assert [text[:10] for text in said] == [f"question {number}" for number in range(4)]
    assert session.messages == 4 * (3 + 30)


async def test_the_newest_messages_leave_too_where_they_alone_are_more_than_the_model_holds(
    tmp_path: Path, provider: StubProvider
) -> None:
    provider.forget()
    brief = document("1.0.0", agent(max_output_tokens=500))
    fields = _windowed(provider, "words;chunks=8000", 2000)
    async with running(tmp_path, brief, **fields) as runtime:
        await _talk(runtime, 2)
    assert _told(provider.requests[-1]) == ["question 1"]


async def test_tools_take_their_part_of_the_window(tmp_path: Path, provider: StubProvider) -> None:
    tooled = document("1.0.0", agent(tools=["calculate"], max_output_tokens=16))
    plain = document("1.0.0", agent(max_output_tokens=16))
    told: list[int] = []
    for served in (tooled, plain):
        fields = _windowed(provider, "words", 256)
        async with running(tmp_path, served, **fields) as runtime:
            await _talk(runtime, 25, said=" " + "x" * 80)
        told.append(max(len(_told(seen)) for seen in provider.requests))
        provider.forget()
    assert told[0] < told[1]


async def test_a_session_goes_on_after_an_answer_that_no_request_may_tell_again(
    tmp_path: Path, provider: StubProvider
) -> None:
    provider.forget()
    budgets = Budgets(request=RequestBudget(tokens=6000))
    fields = stubbed(provider, "words;chunks=1500", budgets=budgets)
    async with running(tmp_path, **fields) as runtime:
        session = await _session(runtime, await _talk(runtime, 3))
    assert session.turns == 3
    assert _told(provider.requests[-1]) == ["question 2"]


def _whole(seen: Seen) -> bool:
    """Tell whether every call that is told has its result, and every result its call."""
    open_calls: list[str] = []
    for message in seen.body["messages"]:
        if message["role"] == "tool":
            if not open_calls or message["tool_call_id"] != open_calls.pop(0):
                return False
        elif open_calls:
            return False
        open_calls += [call["id"] for call in message.get("tool_calls", ())]
    return not open_calls


async def test_a_history_beyond_the_requests_budget_is_cut_to_it_and_not_refused(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(request=RequestBudget(tokens=6000))
    sessions = Sessions(compaction=Compaction(enabled=False))
    fields = stubbed(provider, "words", sessions=sessions, budgets=budgets)
    async with running(tmp_path, **fields) as runtime:
        session = await _session(runtime, await _talk(runtime, 12, said="x" * 900))
    assert session.turns == 12
    assert _told(_answered(provider)[-1])[-1].startswith("question 11")
