"""Sessions on PostgreSQL and Redis: ours, the common way, and the bare driver, operation by one."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import asyncpg
import uvloop
from redis.asyncio import Redis as RedisClient

from bulkhead_runtime.events.port import Event
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.store.postgres.opening import open_store
from bulkhead_runtime.store.postgres.store import PostgresStore
from bulkhead_runtime.store.spending import TurnEnd
from tests.performance.harness.results import OURS, Bar, plain, ratio
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.references import bare_driver
from tests.performance.references.bare_driver import BareDriver
from tests.performance.references.session_documents import SessionDocuments
from tests.support.postgres import Postgres
from tests.support.redis_server import Redis
from tests.support.shared_homes import SharedHome
from tests.support.store_work import (
    BOUNDS,
    account,
    amounts,
    begin,
    begin_turn,
    finish,
    line,
    new_session,
    remembered,
    started,
    turn_of,
)

DOCUMENTS = "documents"
BARE = "bare"
_COMMON = "a connection per operation, the whole session as JSON"
_FLOOR = "asyncpg's and redis-py's pools, one statement"
_SAMPLES = 60
_TEXT = "x" * 350
_SHORT, _LONG = 20, 2000
_WRITERS, _ROWS = 100, 20
_ACCOUNTS = (account("day", "2026-11-21", cost="1000000"), account("total", ""))

_OPERATIONS = {"create": 45.0, "load": 8.0, "resume": 120.0, "save": 35.0}
_WORDS = {
    "create": "create a session",
    "load": "load a session from Redis",
    "resume": "load a session and its tail from PostgreSQL",
    "save": "end a turn: messages, ledger, budget, unlock",
}

BARS = (
    *(
        Bar(f"session-{name}", words, _COMMON, 0.1, "lower", ratio(f"{name}_ms", DOCUMENTS),
            control=f"{name}_ms")
        for name, words in _WORDS.items()
    ),
    *(
        Bar(f"session-{name}-floor", words, _FLOOR, 2.0, "lower", ratio(f"{name}_ms", BARE),
            control=f"{name}_ms")
        for name, words in _WORDS.items()
    ),
    *(
        Bar(f"session-{name}-ms", f"{_WORDS[name]}, milliseconds", "-", most, "lower",
            plain(f"{name}_ms"))
        for name, most in _OPERATIONS.items()
    ),
    Bar("session-resume-growth", "load from PostgreSQL, 2,000 messages against 20", "itself", 1.3,
        "lower", plain("resume_growth")),
    Bar("session-begin-growth", "begin a turn, 2,000 messages against 20", "itself", 1.3, "lower",
        plain("begin_growth")),
    Bar("session-save-growth", "end a turn, 2,000 messages against 20", "itself", 1.3, "lower",
        plain("save_growth")),
    Bar("session-appends", "rows a second on disk, 100 writers", "a row per commit, asyncpg", 3.0,
        "higher", ratio("rows_per_second", BARE), control="rows_per_second"),
    Bar("session-redis-memory", "MiB of Redis for 100 sessions in use", "-", 100.0, "lower",
        plain("redis_mb")),
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """The servers, and what one organization's runtime has mounted."""

    postgres: Postgres
    redis: Redis
    organization: str
    mounted: Path

    @property
    def dsn(self) -> str:
        """Return the owner's DSN: the references have tables of their own."""
        return self.postgres.owner_dsn


def measure(directory: Path, count: int) -> list[Round]:
    """Run every operation one after the other on the same servers, which flush to disk."""
    with ExitStack() as stack:
        postgres = Postgres(durable=True)
        stack.callback(postgres.close)
        redis = Redis()
        stack.callback(redis.close)
        place = uvloop.run(_prepare(directory, postgres, redis))
        variants = {
            OURS: partial(_run, _ours, place),
            DOCUMENTS: partial(_run, _documents, place),
            BARE: partial(_run, _bare, place),
        }
        for run in variants.values():
            run()  # plans, page cache and code paths warm
        return interleave(variants, count, repeated=OURS)


async def _prepare(directory: Path, postgres: Postgres, redis: Redis) -> Place:
    await postgres.migrate()
    home = SharedHome(directory, postgres, redis)
    name = home.name("acme")
    place = Place(postgres, redis, name, await home.mounted(name))
    await SessionDocuments(place.dsn, redis.url).prepare()
    connection = await asyncpg.connect(place.dsn)
    await connection.execute(bare_driver.SCHEMA)
    await connection.close()
    return place


def _run(variant: Callable[[Place], Awaitable[dict[str, float]]], place: Place) -> Measurement:
    before = time.process_time()

    async def measured() -> dict[str, float]:
        return await variant(place)

    figures = uvloop.run(measured())
    return {**figures, "cpu_s": time.process_time() - before}


async def _milliseconds(operation: Callable[[], Awaitable[object]]) -> float:
    """Return the middle of many runs, one after the other."""
    return median([await _seconds(operation) for _ in range(_SAMPLES)]) * 1000


async def _seconds(operation: Callable[[], Awaitable[object]]) -> float:
    before = time.perf_counter()
    await operation()
    return time.perf_counter() - before


async def _ours(place: Place) -> dict[str, float]:
    store = open_store(place.organization, place.mounted, connections=10, cache=True)
    await store.recover()
    short = [await _talked(store, _SHORT) for _ in range(_SAMPLES)]
    long = [await _talked(store, _LONG)] * _SAMPLES
    figures = {
        "create_ms": await _milliseconds(lambda: store.create(new_session(_unique()), BOUNDS)),
        "load_ms": await _milliseconds(lambda: store.session(short[0], "me", BOUNDS)),
    }
    # In turn, so that a busy moment of the machine hits both.
    shorter, longer = [], []
    async with RedisClient.from_url(place.redis.url) as client:
        for pair in zip(short, long, strict=True):
            shorter.append(await _turn(store, client, pair[0]))
            longer.append(await _turn(store, client, pair[1]))
    for at, name in enumerate(("resume", "begin", "save")):
        figures[f"{name}_ms"] = median(took[at] for took in shorter) * 1000
        figures[f"{name}_growth"] = (
            median(took[at] for took in longer) * 1000 / figures[f"{name}_ms"]
        )
    figures["rows_per_second"] = await _rows_per_second(
        lambda: store.append_events((Event(_unique(), "bench", 0),))
    )
    figures["redis_mb"] = await _redis_mb(place, store)
    await store.close()
    return figures


async def _talked(store: PostgresStore, messages: int) -> str:
    """Return a session with that many messages."""
    session_id = _unique()
    pair = (ModelMessage("user", _TEXT), ModelMessage("assistant", _TEXT))
    for number in range(messages // _SHORT):
        asked, turn = await turn_of(store, begin_turn(session_id, new=number == 0))
        end = TurnEnd(turn, "completed", pair * (_SHORT // 2))
        await store.finish(finish(asked, turn=end), BOUNDS)
    return session_id


async def _turn(
    store: PostgresStore, client: RedisClient, session_id: str
) -> tuple[float, float, float]:
    """Return the seconds of a load that Redis knows nothing of, a turn's beginning and its end."""
    await client.flushdb()
    asked = begin(
        turn=begin_turn(session_id),
        accounts=_ACCOUNTS,
        reserve=amounts(tokens="4096", cost="0.05"),
    )
    loading = time.perf_counter()
    await store.session(session_id, "me", BOUNDS)
    beginning = time.perf_counter()
    work = await started(store, asked)
    begun = time.perf_counter()
    assert work.turn is not None
    end = finish(
        asked,
        turn=remembered(work.turn, _TEXT),
        used=amounts(tokens="200", cost="0.002"),
        lines=(line(session_id=session_id),),
    )
    ending = time.perf_counter()
    await store.finish(end, BOUNDS)
    ended = time.perf_counter()
    return beginning - loading, begun - beginning, ended - ending


async def _redis_mb(place: Place, store: PostgresStore) -> float:
    """Return what Redis takes for a hundred sessions of fifty messages."""
    async with RedisClient.from_url(place.redis.url) as client:
        await client.flushall()
        before = (await client.info("memory"))["used_memory"]
        await asyncio.gather(*(_talked(store, _SHORT * 3) for _ in range(100)))
        await store.close()
        after = (await client.info("memory"))["used_memory"]
    return float(after - before) / 1024 / 1024


async def _documents(place: Place) -> dict[str, float]:
    documents = SessionDocuments(place.dsn, place.redis.url)
    message = {"role": "user", "content": _TEXT}
    ids = {}
    for messages in (_SHORT, _LONG):
        ids[messages] = _unique()
        await documents.write(ids[messages], {"messages": [message] * messages})
    figures = {"create_ms": await _milliseconds(lambda: documents.create(_unique()))}
    short, long = ids[_SHORT], ids[_LONG]
    figures["load_ms"] = await _milliseconds(lambda: documents.load(short))
    figures["resume_ms"] = await _milliseconds(lambda: documents.resume(short))
    figures["save_ms"] = await _milliseconds(lambda: documents.save(short, [message]))
    resume = await _milliseconds(lambda: documents.resume(long))
    save = await _milliseconds(lambda: documents.save(long, [message]))
    figures["resume_growth"] = resume / figures["resume_ms"]
    figures["save_growth"] = save / figures["save_ms"]
    return figures


async def _bare(place: Place) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            asyncpg.create_pool(place.dsn, min_size=1, max_size=10)
        )
        client = await stack.enter_async_context(RedisClient.from_url(place.redis.url))
        driver = BareDriver(pool, client)
        session_id = _unique()
        await client.set(session_id, _TEXT)
        for _ in range(_SHORT):
            await driver.save(session_id, _TEXT)
        figures = {
            "create_ms": await _milliseconds(lambda: driver.create(_unique(), _TEXT)),
            "load_ms": await _milliseconds(lambda: driver.load(session_id)),
        }
        # Each after what our own come after: over and over in a row, the same statement takes
        # half the time, for everything is warm.
        resumes, saves = [], []
        for _ in range(_SAMPLES):
            await client.flushdb()
            resumes.append(await _seconds(lambda: driver.resume(session_id)))
            saves.append(await _seconds(lambda: driver.save(_unique(), _TEXT)))
        return figures | {
            "resume_ms": median(resumes) * 1000,
            "save_ms": median(saves) * 1000,
            "rows_per_second": await _rows_per_second(lambda: driver.save(session_id, "bench")),
        }


async def _rows_per_second(write: Callable[[], Awaitable[object]]) -> float:
    async def writer() -> None:
        for _ in range(_ROWS):
            await write()

    before = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(_WRITERS)))
    return _WRITERS * _ROWS / (time.perf_counter() - before)


def _unique() -> str:
    return f"ses_{secrets.token_hex(16)}"
