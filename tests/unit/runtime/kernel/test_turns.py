"""Turns of sessions: how often the store is asked, who may run, and what ends a turn early."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel import settlement
from bulkhead_runtime.kernel.context import Principal
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.port import PoolBounds, Session
from bulkhead_runtime.store.sqlite import SqliteStore, database
from tests.support.deadline import until
from tests.support.runtime.in_process import Trips, data_of, running, say, stubbed
from tests.support.runtime_process import agent, document
from tests.support.stub_provider import StubProvider

STEPS = ("session", "begin", "reserve", "finish")
BOUNDED = Budgets(total=Allowance(tokens=1_000_000, tool_calls=100))


async def _session(runtime: Runtime, session_id: str) -> Session:
    bounds = PoolBounds.configured(runtime.holder.require().source)
    return await runtime.store.session(session_id, None, bounds)


async def _running(runtime: Runtime, provider: StubProvider, before: int) -> str:
    """Return the session whose turn has begun."""

    async def begun() -> bool:
        return len(provider.requests) > before

    await until(begun, "the model is asked")
    bounds = PoolBounds.configured(runtime.holder.require().source)
    page = await runtime.store.sessions(None, bounds, limit=1, cursor=None)
    return page.items[0].id


async def test_a_turn_asks_the_store_twice_and_with_tools_three_times(
    tmp_path: Path, provider: StubProvider
) -> None:
    trips = Trips(SqliteStore(data_of(tmp_path)))
    tooled = document("1.0.0", agent(), agent("tooled", tools=("calculate",)))
    fields = stubbed(provider, "tools", budgets=BOUNDED)
    seen = []
    async with running(tmp_path, tooled, store=trips, **fields) as runtime:
        for to in ("assistant", "tooled"):
            session = None
            for _ in range(3):
                trips.counts.clear()
                session = (await say(runtime, "6 * 7", session, to=to)).session_id
                await runtime.background.finish()
                seen.append(tuple(trips.counts[name] for name in STEPS))
    assert seen[:3] == [(0, 1, 0, 1)] * 3
    assert seen[3:] == [(0, 1, 1, 1)] * 3


async def test_a_session_of_another_process_is_looked_up_once(
    tmp_path: Path, provider: StubProvider
) -> None:
    async with running(tmp_path, **stubbed(provider, "words")) as runtime:
        session = (await say(runtime, "hello")).session_id
    trips = Trips(SqliteStore(data_of(tmp_path)))
    async with running(tmp_path, store=trips, **stubbed(provider, "words")) as runtime:
        trips.counts.clear()
        for _ in range(3):
            await say(runtime, "hello", session)
    assert [trips.counts[name] for name in STEPS] == [1, 3, 0, 3]


async def test_a_message_waits_for_the_turn_of_its_session_on_another_replica(
    tmp_path: Path, provider: StubProvider
) -> None:
    """Two runtimes on one volume, as during a rolling update."""
    fields = stubbed(provider, "words;chunks=3;delay_ms=150")
    async with running(tmp_path, **fields) as one, running(tmp_path, **fields) as other:
        session_id = (await say(one, "first")).session_id
        before = len(provider.requests)
        turn = asyncio.create_task(say(one, "second", session_id))
        await _running(one, provider, before)
        await say(other, "third", session_id)
        await turn
        bounds = PoolBounds.configured(one.holder.require().source)
        page = await one.store.messages(str(session_id), "alice", bounds, limit=10, cursor=None)
    said = [item.message.content for item in page.items if item.message.role == "user"]
    assert said == ["first", "second", "third"]


async def test_a_turn_is_interrupted_and_pays_for_what_it_took(
    tmp_path: Path, provider: StubProvider
) -> None:
    before = len(provider.requests)
    async with running(tmp_path, **stubbed(provider, "hang")) as runtime:
        turn = asyncio.create_task(say(runtime, "hello"))
        session_id = await _running(runtime, provider, before)
        await runtime.turns.interrupt(session_id, "alice")
        with pytest.raises(Problem) as caught:
            await turn
        session = await _session(runtime, session_id)
    assert (caught.value.status, caught.value.code) == (409, "interrupted")
    assert caught.value.session_id == session_id
    assert (session.status, session.messages) == ("interrupted", 0)
    assert session.input_tokens > 0


async def test_a_turn_is_interrupted_from_the_process_that_replaces_its_own(
    tmp_path: Path, provider: StubProvider
) -> None:
    before = len(provider.requests)
    fields = stubbed(provider, "hang")
    async with running(tmp_path, **fields) as former, running(tmp_path, **fields) as latter:
        begun = time.monotonic()
        turn = asyncio.create_task(say(former, "hello"))
        session_id = await _running(former, provider, before)
        await latter.turns.interrupt(session_id, "alice")
        with pytest.raises(Problem) as caught:
            await turn
        ended = time.monotonic()
    assert (caught.value.status, caught.value.code) == (409, "interrupted")
    assert ended - begun < settlement.RENEW_SECONDS, "only its next renewal told it"


@pytest.mark.parametrize("elsewhere", [False, True], ids=["its own", "another"])
async def test_a_turn_whose_session_is_deleted_in_whichever_process_ends(
    tmp_path: Path, provider: StubProvider, elsewhere: bool
) -> None:
    before = len(provider.requests)
    fields = stubbed(provider, "hang")
    async with running(tmp_path, **fields) as one, running(tmp_path, **fields) as other:
        begun = time.monotonic()
        turn = asyncio.create_task(say(one, "hello"))
        session_id = await _running(one, provider, before)
        await (other if elsewhere else one).store.delete(session_id, "alice")
        with pytest.raises(Problem) as caught:
            await turn
    assert caught.value.code == "turn_lost"
    assert time.monotonic() - begun < settlement.RENEW_SECONDS, "only its next renewal told it"


async def test_a_session_shows_that_a_message_waits_for_its_turn(
    tmp_path: Path, provider: StubProvider
) -> None:
    before = len(provider.requests)
    async with running(tmp_path, **stubbed(provider, "hang;times=1")) as runtime:
        turn = asyncio.create_task(say(runtime, "first"))
        session_id = await _running(runtime, provider, before)
        assert (await _session(runtime, session_id)).status == "executing"
        waiting = asyncio.create_task(say(runtime, "second", session_id))

        async def queued() -> bool:
            return (await _session(runtime, session_id)).status == "executing_queued"

        await until(queued, "the waiting message is shown")
        await runtime.turns.interrupt(session_id, "alice")
        with pytest.raises(Problem):
            await turn
        await waiting
        session = await _session(runtime, session_id)
    assert (session.status, session.messages) == ("completed", 2)


async def test_nobody_interrupts_anothers_turn(tmp_path: Path, provider: StubProvider) -> None:
    before = len(provider.requests)
    async with running(tmp_path, **stubbed(provider, "hang")) as runtime:
        turn = asyncio.create_task(say(runtime, "hello"))
        session_id = await _running(runtime, provider, before)
        with pytest.raises(Problem) as caught:
            await runtime.turns.interrupt(session_id, "mallory")
        assert not turn.done()
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
    assert caught.value.code == "unknown_session"


async def test_a_session_without_a_turn_has_nothing_to_interrupt(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        session_id = (await say(runtime, "hello")).session_id
        with pytest.raises(Problem) as caught:
            await runtime.turns.interrupt(str(session_id), "alice")
    assert caught.value.code == "no_turn"


async def test_a_turn_whose_session_was_taken_away_ends_and_stores_nothing(
    tmp_path: Path, provider: StubProvider
) -> None:
    """Another process took it, as when this one hung; the next renewal of the lock says so."""
    before = len(provider.requests)
    async with running(tmp_path, **stubbed(provider, "hang")) as runtime:
        turn = asyncio.create_task(say(runtime, "hello"))
        session_id = await _running(runtime, provider, before)
        with closing(sqlite3.connect(data_of(tmp_path) / database.FILE)) as taken, taken:
            taken.execute("UPDATE sessions SET fence = fence + 1 WHERE id = ?", (session_id,))
        started = time.monotonic()
        with pytest.raises(Problem) as caught:
            await turn
        took = time.monotonic() - started
    assert caught.value.code == "turn_lost"
    assert took < 3 * settlement.RENEW_SECONDS


async def test_only_who_has_the_scope_may_run_an_agent(tmp_path: Path) -> None:
    reader = Principal("eve", frozenset({"sessions:read", "models:call"}), "read-only")
    async with running(tmp_path) as runtime:
        with pytest.raises(Problem) as caught:
            await say(runtime, "hello", principal=reader)
    assert (caught.value.status, caught.value.code) == (403, "missing_scope")
    assert "`agents:run`" in caught.value.message


async def test_no_more_sessions_than_may_be_in_a_turn_at_once(
    tmp_path: Path, provider: StubProvider
) -> None:
    before = len(provider.requests)
    fields = stubbed(provider, "hang", limits={"maxParallelSessions": 1})
    async with running(tmp_path, **fields) as runtime:
        turn = asyncio.create_task(say(runtime, "hello"))
        await _running(runtime, provider, before)
        with pytest.raises(Problem) as caught:
            await say(runtime, "hello")
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
    assert (caught.value.status, caught.value.code) == (429, "too_many_parallel_sessions")


async def test_a_turn_ends_at_the_seconds_of_its_budget(
    tmp_path: Path, provider: StubProvider
) -> None:
    budgets = Budgets(total=Allowance(seconds=2))
    async with running(tmp_path, **stubbed(provider, "hang", budgets=budgets)) as runtime:
        with pytest.raises(Problem) as caught:
            await say(runtime, "hello")
    assert caught.value.status == 504
