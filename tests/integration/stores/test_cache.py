import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import redis

from bulkhead_api import names
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.store.port import Summary
from bulkhead_runtime.store.postgres.pool import Pool
from bulkhead_runtime.store.postgres.signals import claim_topic, session_topic
from bulkhead_runtime.store.redis.link import ANSWER_SECONDS, Link, RedisAwayError
from bulkhead_runtime.store.redis.signals import LOOK_AGAIN_SECONDS
from bulkhead_runtime.store.redis.store import CachedStore
from tests.support.deadline import until
from tests.support.postgres import Postgres
from tests.support.redis_server import Redis
from tests.support.shared_homes import SharedHome
from tests.support.store_work import (
    BOUNDS,
    account,
    amounts,
    begin,
    begin_turn,
    claim,
    finish,
    new_session,
    remembered,
    said,
    say,
    started,
    turn_of,
)
from tests.support.tcp_proxy import TcpProxy


class Wired:
    """A replica with a wire of its own to each server."""

    def __init__(self, store: CachedStore, postgres: TcpProxy, redis: TcpProxy) -> None:
        self.store = store
        self.postgres = postgres
        self.redis = redis


PATIENT_SECONDS = 60.0
"""So long waits for Redis who asks it about something else than how long that is."""


@pytest.fixture
async def replicas(
    postgres: Postgres, own_redis: Redis, cached: SharedHome
) -> AsyncIterator[tuple[Wired, Wired]]:
    """Two replicas of one organization, which a busy machine does not keep from Redis."""
    async with _wired(postgres, own_redis, cached, PATIENT_SECONDS) as both:
        yield both


@pytest.fixture
async def hasty(
    postgres: Postgres, own_redis: Redis, cached: SharedHome
) -> AsyncIterator[tuple[Wired, Wired]]:
    """Two replicas that wait for Redis no longer than runtimes do."""
    async with _wired(postgres, own_redis, cached, ANSWER_SECONDS) as both:
        yield both


@asynccontextmanager
async def _wired(
    postgres: Postgres, own_redis: Redis, cached: SharedHome, answer_seconds: float
) -> AsyncIterator[tuple[Wired, Wired]]:
    folder = await cached.mounted(cached.name("acme"))
    dsn = (folder / names.POSTGRES_DSN_FILE).read_text()
    address = (folder / names.REDIS_URL_FILE).read_text()
    made: list[Wired] = []
    async with (
        TcpProxy(postgres.server.port).serving() as p1,
        TcpProxy(postgres.server.port).serving() as p2,
        TcpProxy(own_redis.server.port).serving() as r1,
        TcpProxy(own_redis.server.port).serving() as r2,
    ):
        for sql, cache in ((p1, r1), (p2, r2)):
            through = dsn.replace(f":{postgres.server.port}/", f":{sql.port}/")
            near = address.replace(str(own_redis.server.port), str(cache.port))
            name = cached.name("acme")
            link = Link(partial(str, near), name, answer_seconds=answer_seconds)
            store = CachedStore(Pool(partial(str, through), 4), name, link)
            await store.recover()
            made.append(Wired(store, sql, cache))
        yield made[0], made[1]
        for wired in made:
            wired.redis.resume()
            await wired.store.close()


async def _texts(wired: Wired) -> list[str]:
    """Return what the next turn would see."""
    asked, turn = await turn_of(wired.store, begin_turn())
    end = remembered(turn, "", status="interrupted", messages=())
    await wired.store.finish(finish(asked, turn=end), BOUNDS)
    return [message.content for message in turn.history]


async def test_a_session_is_read_from_redis_and_postgresql_is_not_asked(
    replicas: tuple[Wired, Wired],
) -> None:
    one, other = replicas
    await _connect(other)
    await say(one.store, "hello", new=True)
    await one.store.close()
    await other.store.create(new_session("ses_other"), BOUNDS)
    before = other.postgres.questions
    for _ in range(5):
        session = await other.store.session("ses_1", "me", BOUNDS)
        assert (session.turns, session.messages, session.status) == (1, 2, "completed")
    assert other.postgres.questions == before
    with pytest.raises(Problem, match="no such session"):
        await other.store.session("ses_1", "somebody else", BOUNDS)


async def _connect(wired: Wired) -> None:
    """Let a replica ask Redis, which it believes about nothing that is older than that."""
    await wired.store.create(new_session("ses_before"), BOUNDS)
    await wired.store.session("ses_before", "me", BOUNDS)


async def test_a_read_that_finds_nothing_in_redis_fills_it(
    replicas: tuple[Wired, Wired], own_redis: Redis
) -> None:
    one, _ = replicas
    await say(one.store, "hello", new=True)
    _flush(own_redis)

    async def asked_nothing() -> bool:
        before = one.postgres.questions
        assert (await one.store.session("ses_1", "me", BOUNDS)).turns == 1
        return one.postgres.questions == before

    await until(asked_nothing, "the entry is read")


async def test_every_change_is_seen_by_the_other_replica_at_once(
    replicas: tuple[Wired, Wired],
) -> None:
    one, other = replicas
    await say(one.store, "0", new=True)
    for number in range(1, 6):
        writer, reader = (one, other) if number % 2 else (other, one)
        await writer.store.session("ses_1", "me", BOUNDS)
        await say(writer.store, str(number))
        session = await reader.store.session("ses_1", "me", BOUNDS)
        assert session.turns == number + 1
    summary = Summary("ses_1", "all of it", 8)
    asked = begin()
    await started(one.store, asked)
    await one.store.finish(finish(asked, summary=summary), BOUNDS)
    session = await other.store.session("ses_1", "me", BOUNDS)
    assert (session.summary, session.summary_until, session.compactions) == ("all of it", 8, 1)
    await other.store.delete("ses_1", "me")
    with pytest.raises(Problem, match="no such session"):
        await one.store.session("ses_1", "me", BOUNDS)


async def test_the_tail_of_a_turn_comes_from_redis_and_is_what_postgresql_has(
    replicas: tuple[Wired, Wired],
) -> None:
    one, other = replicas
    for number in range(40):
        await say(one.store, f"{number} \u2713 'x' \\", new=number == 0)
    before = other.postgres.answered
    cold = await _texts(other)
    took = other.postgres.answered - before
    await one.store.session("ses_1", "me", BOUNDS)
    await one.store.close()
    await other.store.session("ses_1", "me", BOUNDS)
    between = other.postgres.answered
    warm = await _texts(other)
    assert cold == warm
    assert len(warm) == 50
    assert warm[-1] == "re: 39 \u2713 'x' \\"
    assert other.postgres.answered - between < took / 2


@pytest.mark.parametrize(
    ("turns", "summarized"),
    [(1, 0), (25, 0), (26, 0), (2, 2), (26, 2), (27, 2), (27, 52)],
    ids=[
        "a message and its answer",
        "as many as a tail holds",
        "more than a tail holds",
        "what a summary left",
        "what a summary left, as many as a tail holds",
        "what a summary left, more than a tail holds",
        "what a summary of nearly all left",
    ],
)
async def test_a_tail_read_from_postgresql_is_all_that_the_next_turn_loads(
    replicas: tuple[Wired, Wired], own_redis: Redis, turns: int, summarized: int
) -> None:
    one, other = replicas
    texts = [f"{number} \u2713 '\"\\\n" + "x" * 4000 for number in range(turns)]
    for number, text in enumerate(texts):
        await say(one.store, text, new=number == 0)
    if summarized:
        summary = Summary("ses_1", "what was said", summarized)
        await one.store.finish(finish(begin(), summary=summary), BOUNDS)
    messages = [said for text in texts for said in (text, f"re: {text}")]
    await one.store.close()
    _flush(own_redis)
    await one.store.session("ses_1", "me", BOUNDS)
    before = one.postgres.answered
    tail = await _texts(one)
    assert tail == messages[summarized:][-50:]
    assert one.postgres.answered - before < 4000, "none of it was sent again"
    await other.store.session("ses_1", "me", BOUNDS)
    assert await _texts(other) == tail, "what was cached is the same"


async def test_a_turn_that_wants_more_than_a_tail_holds_gets_it(
    replicas: tuple[Wired, Wired], own_redis: Redis
) -> None:
    one, _ = replicas
    for number in range(25):
        await say(one.store, f"{number}", new=number == 0)
    asked, turn = await turn_of(one.store, begin_turn())
    end = remembered(turn, "", messages=(ModelMessage("user", "the 51st"),))
    await one.store.finish(finish(asked, turn=end), BOUNDS)
    await one.store.close()
    _flush(own_redis)
    await one.store.session("ses_1", "me", BOUNDS)
    _, turn = await turn_of(one.store, begin_turn(tail=60))
    assert len(turn.history) == 51


async def test_a_tail_that_was_read_before_another_replicas_turn_is_not_used(
    replicas: tuple[Wired, Wired],
) -> None:
    one, other = replicas
    await say(one.store, "one", new=True)
    await other.store.session("ses_1", "me", BOUNDS)
    await say(one.store, "two")
    assert await _texts(other) == ["one", "re: one", "two", "re: two"]


async def test_a_reader_that_was_slow_to_refill_puts_no_old_row_over_a_new_one(
    replicas: tuple[Wired, Wired], own_redis: Redis
) -> None:
    one, other = replicas
    await say(one.store, "one", new=True)
    _flush(own_redis)
    other.redis.delay = 0.1
    reading = asyncio.create_task(other.store.session("ses_1", "me", BOUNDS))
    await say(one.store, "two")
    await reading
    assert (await one.store.session("ses_1", "me", BOUNDS)).turns == 2
    assert (await other.store.session("ses_1", "me", BOUNDS)).turns == 2


def _flush(server: Redis) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()


async def _kill(server: Redis, _: Wired) -> None:
    server.kill()


async def _hang(server: Redis, _: Wired) -> None:
    server.hang()


async def _partition(_: Redis, wired: Wired) -> None:
    wired.redis.silence()


async def _cut(_: Redis, wired: Wired) -> None:
    wired.redis.cut()
    wired.redis.silence()


async def _fill(server: Redis, _: Wired) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", "1")
        client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize(
    "outage",
    [_kill, _hang, _partition, _cut, _fill],
    ids=["killed", "hanging", "partitioned", "cut", "out of memory"],
)
async def test_a_redis_that_is_away_costs_speed_and_nothing_else(
    hasty: tuple[Wired, Wired],
    own_redis: Redis,
    outage: Callable[[Redis, Wired], Awaitable[None]],
) -> None:
    one, _ = hasty
    await say(one.store, "before", new=True)
    usual = await _talk(one, range(20))
    await outage(own_redis, one)
    took = await _talk(one, range(20, 40))
    # Three questions in vain at half a second, and a rest after them.
    assert took < 5 + 5 * usual
    assert (await said(one.store))[-1] == "re: 39"


async def _talk(wired: Wired, turns: Iterable[int]) -> float:
    """Run turns, and read the session after each; return the seconds that took."""
    begun = time.monotonic()
    for number in turns:
        await say(wired.store, str(number))
        session = await wired.store.session("ses_1", "me", BOUNDS)
        assert session.turns == number + 2
    return time.monotonic() - begun


async def test_what_redis_kept_through_a_partition_is_not_believed_once_a_turn_is_acknowledged(
    hasty: tuple[Wired, Wired],
) -> None:
    one, other = hasty
    await say(one.store, "one", new=True)
    assert (await other.store.session("ses_1", "me", BOUNDS)).turns == 1
    one.redis.silence()
    await say(one.store, "two")
    # The other replica, for whom Redis is there all the time, asks PostgreSQL for anything.
    await other.store.create(new_session("ses_2"), BOUNDS)
    assert (await other.store.session("ses_1", "me", BOUNDS)).turns == 2
    one.redis.resume()
    assert (await other.store.session("ses_1", "me", BOUNDS)).turns == 2


async def test_what_a_redis_that_started_again_had_on_disk_is_not_believed(
    replicas: tuple[Wired, Wired], own_redis: Redis
) -> None:
    one, other = replicas
    for session_id in ("ses_1", "ses_gone"):
        await say(one.store, "one", session_id, new=True)
        assert (await other.store.session(session_id, "me", BOUNDS)).turns == 1
    with redis.Redis.from_url(own_redis.url) as client:
        client.save()
    await say(one.store, "two")
    await one.store.delete("ses_gone", "me")
    own_redis.kill()
    own_redis.start()
    own_redis.restore_users()
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.dbsize()
    for wired in replicas:
        assert (await wired.store.session("ses_1", "me", BOUNDS)).turns == 2
        with pytest.raises(Problem, match="no such session"):
            await wired.store.session("ses_gone", "me", BOUNDS)


async def test_a_replica_believes_nothing_that_redis_had_before_it_was_there(
    replicas: tuple[Wired, Wired], postgres: Postgres, cached: SharedHome
) -> None:
    one, other = replicas
    await say(one.store, "one", new=True)
    postgres.administer(
        f"UPDATE bulkhead.sessions SET turns = 7 WHERE organization = '{cached.name('acme')}'"
    )
    await other.store.create(new_session("ses_2"), BOUNDS)
    assert (await other.store.session("ses_1", "me", BOUNDS)).turns == 7


async def test_a_connection_that_broke_amid_a_question_counts_as_a_new_one(
    cached: SharedHome, own_redis: Redis
) -> None:
    folder = await cached.mounted(cached.name("acme"))
    link = Link((folder / names.REDIS_URL_FILE).read_text, cached.name("acme"))

    async def asked() -> bool:
        with suppress(RedisAwayError):
            await link.ask("PING")
            return True
        return False

    await until(asked, "Redis answers")
    since = link.connected_since
    own_redis.hang()
    assert not await asked()
    own_redis.resume()
    await until(asked, "Redis answers again")
    assert since is not None
    assert link.connected_since is not None
    assert link.connected_since > since
    await link.close()


async def test_a_deleted_session_is_gone_where_another_replica_began_an_epoch(
    hasty: tuple[Wired, Wired],
) -> None:
    one, other = hasty
    await say(one.store, "one", new=True)
    other.redis.silence()
    await say(other.store, "unheard", "ses_2", new=True)
    other.redis.resume()
    await say(other.store, "ends the epoch", "ses_2")

    async def cached() -> bool:
        before = other.postgres.questions
        await other.store.session("ses_1", "me", BOUNDS)
        return other.postgres.questions == before

    await until(cached, "the session is cached in the new epoch")
    await one.store.delete("ses_1", "me")
    with pytest.raises(Problem, match="no such session"):
        await other.store.session("ses_1", "me", BOUNDS)


async def test_redis_is_used_again_after_it_was_away(
    replicas: tuple[Wired, Wired], own_redis: Redis
) -> None:
    one, _ = replicas
    own_redis.kill()
    await say(one.store, "without", new=True)
    own_redis.start()

    async def used() -> bool:
        await one.store.session("ses_1", "me", BOUNDS)
        with redis.Redis.from_url(own_redis.url) as client:
            return bool(client.dbsize())

    _restore_users(own_redis, one)
    await until(used, "entries are written again")


def _restore_users(server: Redis, wired: Wired) -> None:
    """Make the user that a Redis without a disk forgot."""
    link = wired.store._link
    user, password = link._address().removeprefix("redis://").split("@")[0].split(":")
    server.add_organization(user, password)


async def test_a_budget_is_never_overspent_while_redis_dies(
    replicas: tuple[Wired, Wired], own_redis: Redis
) -> None:
    stores = [wired.store for wired in replicas]
    dollar = (account("total", "", cost="1.00"),)

    async def spend(number: int) -> bool:
        asked = begin(accounts=dollar, reserve=amounts(cost="0.03"))
        begun = await stores[number % 2].begin(asked, BOUNDS)
        if number == 60:
            own_redis.kill()
        if type(begun).__name__ == "BudgetRefused":
            return False
        await stores[number % 2].finish(finish(asked, used=amounts(cost="0.03")), BOUNDS)
        return True

    spent = await asyncio.gather(*(spend(number) for number in range(200)))
    (balance,) = await stores[0].balances(dollar)
    assert balance.used["cost"] <= 1
    assert balance.used["cost"] == sum(spent) * amounts(cost="0.03")["cost"]
    assert balance.reserved["cost"] == 0


async def test_an_organizations_user_reaches_no_key_of_another(cached: SharedHome) -> None:
    folder = await cached.mounted(cached.name("acme"))
    await cached.mounted(cached.name("globex"))
    client = redis.Redis.from_url((folder / names.REDIS_URL_FILE).read_text())
    theirs = f"bulkhead:{cached.name('globex')}:session:0:ses_1"
    for attempt in (
        lambda: client.hset(theirs, "head", "x"),
        lambda: client.hgetall(theirs),
        lambda: client.publish(theirs, "x"),
        lambda: client.keys("*"),
        client.flushall,
        lambda: client.config_get("*"),
        lambda: client.eval("return redis.call('HGETALL', KEYS[1])", 1, theirs),
    ):
        with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission"):
            attempt()
    client.close()


async def test_a_hundred_sessions_hold_redis_far_under_a_hundred_megabytes(
    replicas: tuple[Wired, Wired], own_redis: Redis
) -> None:
    store = replicas[0].store
    with redis.Redis.from_url(own_redis.url) as client:
        before = client.info("memory")["used_memory"]
        for turn in range(3):
            await asyncio.gather(
                *(say(store, "x" * 40_000, f"ses_{n}", new=turn == 0) for n in range(100))
            )
        await store.close()
        used = client.info("memory")["used_memory"] - before
        assert client.dbsize() == 100
        assert 0 < client.ttl(client.keys("*")[0]) <= 24 * 3600
    assert used < 50_000_000


async def test_a_waiting_replica_is_told_when_a_session_is_free_and_a_request_answered(
    replicas: tuple[Wired, Wired],
) -> None:
    one, other = replicas
    wanted = claim()
    asked = begin(turn=begin_turn(new=True), claim=wanted)
    begun = await started(one.store, asked)
    assert begun.turn is not None
    async with (
        other.store.signals.watching(session_topic("ses_1")) as free,
        other.store.signals.watching(claim_topic(wanted)) as answered,
    ):
        waiting = asyncio.gather(free.wait(20), answered.wait(20))
        before = time.monotonic()
        await one.store.finish(finish(asked, turn=remembered(begun.turn, "x")), BOUNDS)
        await waiting
    assert time.monotonic() - before < LOOK_AGAIN_SECONDS


@pytest.mark.parametrize("away", [True, False], ids=["Redis is away", "too many wait already"])
async def test_who_cannot_be_told_looks_again_soon(
    replicas: tuple[Wired, Wired], own_redis: Redis, away: bool
) -> None:
    one, _ = replicas
    if away:
        own_redis.kill()
    signals = one.store.signals

    async def wait() -> float:
        async with signals.watching("session:none") as signal:
            before = time.monotonic()
            await signal.wait(60)
            return time.monotonic() - before

    waited = await asyncio.gather(*(wait() for _ in range(1 if away else 20)))
    assert min(waited) < 10 * LOOK_AGAIN_SECONDS


async def test_a_rate_holds_over_replicas_and_says_when_to_come_again(
    replicas: tuple[Wired, Wired],
) -> None:
    rates = [wired.store.rates for wired in replicas]
    asked = (rates[number % 2].admit("executions", 10, seconds=60) for number in range(30))
    verdicts = [verdict for verdict in await asyncio.gather(*asked) if verdict is not None]
    admitted = [verdict for verdict in verdicts if verdict.admitted]
    refused = [verdict for verdict in verdicts if not verdict.admitted]
    assert (len(admitted), len(refused)) == (10, 20)
    assert all(0 < verdict.retry_after <= 61 for verdict in refused)
    assert sorted(verdict.left for verdict in admitted) == list(range(10))

    async def passed() -> bool:
        verdict = await rates[0].admit("short", 1, seconds=3)
        return verdict is not None and verdict.admitted

    assert await passed()
    assert not await passed()
    await until(passed, "the window has moved on")


async def test_without_redis_a_rate_is_left_to_each_replica(
    replicas: tuple[Wired, Wired], own_redis: Redis
) -> None:
    own_redis.kill()
    assert await replicas[0].store.rates.admit("executions", 10) is None


async def test_a_store_without_an_address_of_redis_works_all_the_same(
    cached: SharedHome, tmp_path: Path
) -> None:
    folder = await cached.mounted(cached.name("acme"))
    (folder / names.REDIS_URL_FILE).write_text("no address")
    store = await cached.open()
    await say(store, "hello", new=True)
    assert (await store.session("ses_1", "me", BOUNDS)).turns == 1
