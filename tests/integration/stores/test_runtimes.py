"""Replicas of a whole runtime on one PostgreSQL, with and without Redis in front."""

import asyncio
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from bulkhead_api import names
from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel import settlement
from bulkhead_runtime.kernel.requests import Repeated
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.port import PoolBounds
from bulkhead_runtime.store.postgres.pool import Pool
from bulkhead_runtime.store.redis.link import Link
from bulkhead_runtime.store.redis.store import CachedStore
from bulkhead_runtime.store.spending import Account
from bulkhead_runtime.stores import Stores
from tests.support import stub_provider
from tests.support.deadline import until
from tests.support.postgres import Postgres
from tests.support.redis_server import Redis
from tests.support.runtime.in_process import Shared, repeatable, running, say, stubbed
from tests.support.runtime_process import agent, document
from tests.support.shared_homes import SharedHome
from tests.support.stub_provider import StubProvider

COST = Decimal("0.000017")
"""Of one answer of the stub."""


@pytest.fixture(scope="module")
def provider() -> Iterator[StubProvider]:
    with stub_provider.running() as stub:
        yield stub


async def _shared(home: SharedHome, *, redis: bool) -> Shared:
    name = home.name("acme")
    return Shared(name, await home.mounted(name), redis)


async def _said(runtime: Runtime, session_id: str | None) -> list[str]:
    bounds = PoolBounds.configured(runtime.holder.require().source)
    page = await runtime.store.messages(str(session_id), "alice", bounds, limit=100, cursor=None)
    return [item.message.content for item in page.items if item.message.role == "user"]


async def test_a_session_continues_on_whichever_replica(
    tmp_path: Path, cached: SharedHome, provider: StubProvider
) -> None:
    shared = await _shared(cached, redis=True)
    fields = stubbed(provider, "words", shared=shared, replicas=2)
    async with running(tmp_path, **fields) as one, running(tmp_path, **fields) as other:
        session_id = (await say(one, "first")).session_id
        await say(other, "second", session_id)
        await say(one, "third", session_id)
        told = [m["content"] for m in provider.requests[-1].body["messages"]]
        assert await _said(other, session_id) == ["first", "second", "third"]
    assert [text for text in told if not text.startswith("word")] == ["first", "second", "third"]


async def test_turns_of_one_session_run_one_after_the_other_over_replicas(
    tmp_path: Path, cached: SharedHome, provider: StubProvider
) -> None:
    shared = await _shared(cached, redis=True)
    fields = stubbed(provider, "words;chunks=2;delay_ms=20", shared=shared, replicas=2)
    async with running(tmp_path, **fields) as one, running(tmp_path, **fields) as other:
        session_id = (await say(one, "0")).session_id
        await asyncio.gather(
            *(say((one, other)[number % 2], str(number), session_id) for number in range(1, 11))
        )
        said = await _said(one, session_id)
        bounds = PoolBounds.configured(one.holder.require().source)
        session = await one.store.session(str(session_id), "alice", bounds)
    assert sorted(said, key=int) == [str(number) for number in range(11)]
    assert (session.turns, session.messages) == (11, 22)


async def test_duplicates_on_two_replicas_are_carried_out_once(
    tmp_path: Path, cached: SharedHome, provider: StubProvider
) -> None:
    shared = await _shared(cached, redis=True)
    fields = stubbed(provider, "words;chunks=2;delay_ms=50", shared=shared, replicas=2)
    before = len(provider.requests)
    key = repeatable("both")
    async with running(tmp_path, **fields) as one, running(tmp_path, **fields) as other:
        outcomes = await asyncio.gather(
            *(say(runtime, "hello", key=key) for runtime in (one, other) * 5),
            return_exceptions=True,
        )
    repeated = [outcome for outcome in outcomes if isinstance(outcome, Repeated)]
    assert len(repeated) == 9
    assert len(provider.requests) - before == 1


@pytest.mark.parametrize("killed", [False, True], ids=["Redis stays", "Redis is killed midway"])
async def test_200_callers_on_two_replicas_never_spend_more_than_the_budget(
    tmp_path: Path, cached: SharedHome, own_redis: Redis, provider: StubProvider, killed: bool
) -> None:
    shared = await _shared(cached, redis=True)
    dollars = 100 * COST  # half of what they want, however they come one after the other
    frugal = document("1.0.0", agent(max_output_tokens=8))
    fields = stubbed(
        provider,
        "words",
        shared=shared,
        replicas=2,
        budgets=Budgets(total=Allowance(cost=str(dollars))),
        limits={"maxConcurrentAgents": 16, "maxQueueSize": 200, "maxParallelSessions": 200},
    )
    before = len(provider.requests)
    async with (
        running(tmp_path, frugal, **fields) as one,
        running(tmp_path, frugal, **fields) as other,
    ):

        async def call(number: int) -> str:
            if killed and number == 40:
                await asyncio.to_thread(own_redis.close)
            try:
                await say((one, other)[number % 2], "hello")
            except Problem as problem:
                return problem.code
            return "answered"

        outcomes = await asyncio.gather(*(call(number) for number in range(200)))
        (balance,) = await one.store.balances((Account("total", "", {}),))
        page = await one.store.ledger(since=0, until=2**52, principal=None, limit=200, cursor=None)
    answered = outcomes.count("answered")
    assert set(outcomes) == {"answered", "budget_exceeded"}
    assert len(provider.requests) - before == answered > 0
    assert balance.used["cost"] == COST * answered <= dollars
    assert balance.reserved.get("cost", 0) == 0
    assert sum(line.cost or 0 for line in page.items) == balance.used["cost"]


async def test_rates_hold_over_replicas_and_shares_of_them_without_redis(
    tmp_path: Path, cached: SharedHome, own_redis: Redis, provider: StubProvider
) -> None:
    shared = await _shared(cached, redis=True)
    fields = stubbed(
        provider, "words", shared=shared, replicas=2, limits={"rateLimitPerMinute": 10}
    )

    async def admitted(runtimes: tuple[Runtime, ...]) -> int:
        outcomes = await asyncio.gather(
            *(say(runtimes[number % 2], "hello") for number in range(30)), return_exceptions=True
        )
        refused = [one for one in outcomes if isinstance(one, Problem)]
        assert {problem.code for problem in refused} <= {"rate_limited"}
        return len(outcomes) - len(refused)

    async with (
        running(tmp_path, stores=_patient(shared), **fields) as one,
        running(tmp_path, stores=_patient(shared), **fields) as other,
    ):
        assert await admitted((one, other)) == 10
        await asyncio.to_thread(own_redis.close)
        assert await admitted((one, other)) == 10


def _patient(shared: Shared) -> Stores:
    """Return stores that wait longer for Redis than a busy machine keeps it from answering."""
    dsn = (shared.mounted / names.POSTGRES_DSN_FILE).read_text()
    address = (shared.mounted / names.REDIS_URL_FILE).read_text()
    link = Link(lambda: address, shared.organization, answer_seconds=60)
    store = CachedStore(Pool(lambda: dsn, 4), shared.organization, link)
    return Stores(store, store.signals, store.rates, shared=True)


async def test_a_store_that_is_away_fails_closed_and_is_used_again_when_it_is_back(
    tmp_path: Path, own_postgres: Postgres, provider: StubProvider
) -> None:
    shared = await _shared(SharedHome(tmp_path, own_postgres), redis=False)
    budgets = Budgets(total=Allowance(cost="1"))
    fields = stubbed(provider, "words", shared=shared, budgets=budgets)
    async with running(tmp_path, **fields) as runtime:
        session_id = (await say(runtime, "hello")).session_id
        await asyncio.to_thread(own_postgres.stop)
        before = len(provider.requests)
        with pytest.raises(Problem) as caught:
            await say(runtime, "hello", session_id)
        asked = len(provider.requests) - before
        await asyncio.to_thread(own_postgres.start)
        await say(runtime, "and again", session_id)
        said = await _said(runtime, session_id)
    assert caught.value.status == 503
    assert caught.value.retry_after is not None
    assert asked == 0
    assert said == ["hello", "and again"]


async def test_a_shared_store_and_its_cache_are_told_of_and_fail_no_probe(
    tmp_path: Path, own_postgres: Postgres, own_redis: Redis
) -> None:
    shared = await _shared(SharedHome(tmp_path, own_postgres, own_redis), redis=True)
    async with running(tmp_path, shared=shared, replicas=2) as runtime:
        before = {one.name: one.ok for one in (await runtime.readiness()).dependencies}
        await asyncio.to_thread(own_redis.close)

        async def redis_is_away() -> bool:
            await say(runtime, "hello")
            return await _away(runtime, "redis")

        await until(redis_is_away, "Redis is seen to be away")
        without_redis = (await runtime.readiness()).ready
        await asyncio.to_thread(own_postgres.stop)
        await until(lambda: _away(runtime, "postgres"), "PostgreSQL is seen to be away")
        ready, state = (await runtime.readiness()).ready, await runtime.state()
        await asyncio.to_thread(own_postgres.start)
    assert (before["postgres"], before["redis"]) == (True, True)
    assert (without_redis, ready) == (True, True)
    assert [refusal.what for refusal in state.refusals] == ["postgres"]


async def _away(runtime: Runtime, name: str) -> bool:
    return any(one.name == name and not one.ok for one in (await runtime.readiness()).dependencies)


@pytest.mark.parametrize("redis", ["with", "without", "killed"], ids="{} Redis".format)
async def test_a_turn_is_interrupted_through_whichever_replica_and_the_next_is_not(
    tmp_path: Path,
    cached: SharedHome,
    own_redis: Redis,
    provider: StubProvider,
    redis: str,
) -> None:
    shared = await _shared(cached, redis=redis != "without")
    fields = stubbed(provider, "words;chunks=400;delay_ms=50", shared=shared, replicas=2)
    before = len(provider.requests)
    async with running(tmp_path, **fields) as one, running(tmp_path, **fields) as other:
        begun = time.monotonic()
        turn = asyncio.create_task(say(one, "hello"))
        assert await provider.asked(before + 1)
        if redis == "killed":
            await asyncio.to_thread(own_redis.close)
        bounds = PoolBounds.configured(one.holder.require().source)
        (session,) = (await one.store.sessions(None, bounds, limit=1, cursor=None)).items
        await other.turns.interrupt(session.id, "alice")
        await other.turns.interrupt(session.id, "alice")
        with pytest.raises(Problem) as caught:
            await turn
        ended = time.monotonic()
        following = asyncio.create_task(say(other, "again", session.id))
        assert await provider.asked(before + 2)
        await one.turns.interrupt(session.id, "alice")
        with pytest.raises(Problem):
            await following
        with pytest.raises(Problem) as nothing:
            await one.turns.interrupt(session.id, "alice")
    assert (caught.value.status, caught.value.code) == (409, "interrupted")
    assert ended - begun < settlement.RENEW_SECONDS, "only its next renewal told it"
    assert nothing.value.code == "no_turn"
