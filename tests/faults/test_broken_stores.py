"""What clients were promised stays while Redis and PostgreSQL fail, and service comes back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psycopg
import pytest
from psycopg import Connection
from redis import Redis as RedisClient

from tests.support.deadline import until
from tests.support.fault_table import FaultTable
from tests.support.postgres import Postgres
from tests.support.redis_server import Redis
from tests.support.runtime.places import shared
from tests.support.runtime.talk import Talker
from tests.support.runtime_process import client
from tests.support.tcp_proxy import TcpProxy

TALKERS = 6
ANSWERS = 6
"""How often every client is answered while a store is broken, well or not."""

MET_SECONDS = 300.0
"""Until all of them were: a silent PostgreSQL is given up after 20 seconds each time."""

RECOVERY_SECONDS = 120.0
"""Until the last session goes on: one whose turn could not be ended waits for its lease."""

ANSWER_SECONDS = 45.0
SILENT_ANSWER_SECONDS = 75.0


@dataclass(frozen=True)
class Stores:
    """Both stores, each with a wire before it."""

    postgres: Postgres
    redis: Redis
    to_postgres: TcpProxy
    to_redis: TcpProxy


@dataclass(frozen=True)
class Fault:
    """How a store is broken, within which block; `refuses` tells that turns may be refused.

    It is broken so many `times`, each time until every client was answered so often: `answers`.
    """

    broken: Callable[[Stores], AbstractAsyncContextManager[None]]
    refuses: bool = False
    seconds: float = ANSWER_SECONDS
    answers: int = ANSWERS
    times: int = 1


@asynccontextmanager
async def _redis_flushed(stores: Stores) -> AsyncIterator[None]:
    with RedisClient.from_url(stores.redis.url) as admin:
        admin.flushall()
    yield


@asynccontextmanager
async def _redis_killed(stores: Stores) -> AsyncIterator[None]:
    await asyncio.to_thread(stores.redis.kill)
    yield
    await asyncio.to_thread(stores.redis.start)
    # An empty server knows no users; the platform makes them again, as after any restart.
    stores.redis.restore_users()


@asynccontextmanager
async def _redis_hangs(stores: Stores) -> AsyncIterator[None]:
    stores.redis.hang()
    yield
    stores.redis.resume()


@asynccontextmanager
async def _redis_slow(stores: Stores) -> AsyncIterator[None]:
    stores.to_redis.delay = 0.3
    yield
    stores.to_redis.delay = 0.0


@asynccontextmanager
async def _redis_partitioned(stores: Stores) -> AsyncIterator[None]:
    stores.to_redis.silence()
    yield
    stores.to_redis.resume()


@asynccontextmanager
async def _postgres_restarted(stores: Stores) -> AsyncIterator[None]:
    await asyncio.to_thread(stores.postgres.stop)
    yield
    await asyncio.to_thread(stores.postgres.start)


@asynccontextmanager
async def _postgres_out_of_connections(stores: Stores) -> AsyncIterator[None]:
    """Take every connection that an ordinary role can have, those of the runtime included."""
    held: list[Connection] = []
    stores.postgres.administer(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'bulkhead%'"
    )
    with suppress(psycopg.OperationalError):
        while True:
            held.append(await asyncio.to_thread(psycopg.connect, stores.postgres.owner_dsn))
    assert held
    yield
    for connection in held:
        connection.close()


@asynccontextmanager
async def _postgres_cuts_connections(stores: Stores) -> AsyncIterator[None]:
    stores.to_postgres.cut()
    yield


@asynccontextmanager
async def _postgres_slow(stores: Stores) -> AsyncIterator[None]:
    stores.to_postgres.delay = 0.3
    yield
    stores.to_postgres.delay = 0.0


@asynccontextmanager
async def _postgres_partitioned(stores: Stores) -> AsyncIterator[None]:
    stores.to_postgres.silence()
    yield
    stores.to_postgres.resume()


FAULTS = {
    "Redis flushed": Fault(_redis_flushed),
    "Redis killed and started again": Fault(_redis_killed),
    "Redis hangs": Fault(_redis_hangs),
    "Redis slow": Fault(_redis_slow),
    "Redis partitioned": Fault(_redis_partitioned),
    "PostgreSQL restarted": Fault(_postgres_restarted, refuses=True),
    "PostgreSQL out of connections": Fault(_postgres_out_of_connections, refuses=True),
    "PostgreSQL's connections cut": Fault(
        _postgres_cuts_connections, refuses=True, answers=2, times=5
    ),
    "PostgreSQL slow": Fault(_postgres_slow),
    "PostgreSQL partitioned": Fault(
        _postgres_partitioned,
        refuses=True,
        seconds=SILENT_ANSWER_SECONDS,
        answers=1,
    ),
}
ONE_OF_EACH = ("Redis killed and started again", "PostgreSQL restarted")


@pytest.fixture
async def stores(postgres: Postgres, redis: Redis) -> AsyncIterator[Stores]:
    async with AsyncExitStack() as stack:
        wires = [
            await stack.enter_async_context(TcpProxy(server.port).serving())
            for server in (postgres.server, redis.server)
        ]
        yield Stores(postgres, redis, *wires)


async def test_what_was_acknowledged_stays_and_service_comes_back_when_a_store_fails(
    tmp_path: Path, stores: Stores, faults: FaultTable
) -> None:
    ports = (stores.to_postgres.port, stores.to_redis.port)
    place = await shared(tmp_path, stores.postgres, stores.redis, ports=ports)
    place.follow(replicas=2)
    async with place.replicas(2) as (one, other), client(one) as first, client(other) as second:
        for name in FAULTS if faults.every else ONE_OF_EACH:
            talkers = [Talker(f"{name} {number}") for number in range(TALKERS)]
            await _talk_through(FAULTS[name], stores, talkers, (first, second))
            verdicts = [await talker.verdict(second) for talker in talkers]
            faults.add(
                name,
                sum(talker.said for talker in talkers),
                lost=sum(lost for lost, _ in verdicts),
                doubled=sum(doubled for _, doubled in verdicts),
            )


async def _talk_through(
    fault: Fault,
    stores: Stores,
    talkers: list[Talker],
    replicas: tuple[aiohttp.ClientSession, ...],
) -> None:
    """Let all talk while a store breaks and when it is mended; judge how they were answered."""
    pairs = [(talker, replicas[i % len(replicas)]) for i, talker in enumerate(talkers)]
    for talker, http in pairs:
        assert await talker.say(http)
    mended = asyncio.Event()
    async with asyncio.TaskGroup() as talking:
        for talker, http in pairs:
            talking.create_task(talker.talk(http, mended))
        for _ in range(fault.times):
            async with fault.broken(stores):
                await _answered(talkers, fault.answers)
        mended.set()
    refusals = {refusal for talker in talkers for refusal in talker.refusals}
    assert fault.refuses or not refusals, refusals
    assert {status for status, _ in refusals} <= {503, 409}
    assert all(retry_after is not None for _, retry_after in refusals), refusals
    assert max(talker.slowest for talker in talkers) < fault.seconds
    # On the other replica, so that nothing that the first remembers helps.
    await asyncio.gather(
        *(
            talker.be_answered(replicas[(i + 1) % len(replicas)], RECOVERY_SECONDS)
            for i, talker in enumerate(talkers)
        )
    )


async def _answered(talkers: list[Talker], times: int) -> None:
    """Return once every client was answered so often what it asked from now on."""
    # The first answer may be to what was asked before.
    wanted = {talker.name: talker.answered + times + 1 for talker in talkers}

    async def all_are() -> bool:
        return all(talker.answered >= wanted[talker.name] for talker in talkers)

    await until(all_are, "every client meets the fault", MET_SECONDS)
