"""The embedded store by itself: what a long conversation costs, and what sharing commits saves."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count as numbers
from pathlib import Path
from tempfile import mkdtemp

import orjson

from bulkhead_runtime.events.port import Event
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.store.port import BeginTurn, NewSession, PoolBounds
from bulkhead_runtime.store.spending import Begin, Begun, Finish, LedgerLine, TurnEnd
from bulkhead_runtime.store.sqlite import SqliteStore
from tests.performance.harness.results import OURS, Bar, ratio
from tests.performance.harness.rounds import Measurement, MeasurementError, Round, interleave

WHOLE = "whole document"
SINGLE = "row per commit"
_SHORT, _LONG = 20, 2000
_TURNS = 200
_WRITERS = 100
_EVENTS_EACH = 20
_BOUNDS = PoolBounds("default", 1024, None)
_FAR = 2**50
_TEXT = "What a person and an assistant say to each other in a conversation. " * 3
_numbers = numbers()


def _growth(metric: str) -> Callable[[Round], float]:
    def figure(measured: Round) -> float:
        return measured.get(OURS, f"{metric}_{_LONG}_us") / measured.get(
            OURS, f"{metric}_{_SHORT}_us"
        )

    return figure


BARS = (
    Bar("embedded-save-growth", "saving a turn at 2,000 messages",
        "the same at 20 messages", 1.3, "lower", _growth("save"), control=f"save_{_LONG}_us"),
    Bar("embedded-load-growth", "loading the tail at 2,000 messages",
        "the same at 20 messages, the tail full in both", 1.3, "lower", _growth("load"),
        control=f"load_{_LONG}_us"),
    Bar("embedded-appends", "durable events a second, 100 writers",
        "SQLite (WAL, synchronous FULL), one row per commit", 3.0, "higher",
        ratio("events_per_second", SINGLE), control="events_per_second"),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Run ours, a store that keeps each conversation as one document, and single commits."""
    variants = {
        OURS: partial(_ours, directory),
        WHOLE: partial(_whole_document, directory),
        SINGLE: partial(_row_per_commit, directory),
    }
    return interleave(variants, count, repeated=OURS)


def _ours(directory: Path) -> Measurement:
    return asyncio.run(_measure_ours(Path(mkdtemp(dir=directory))))


async def _measure_ours(directory: Path) -> Measurement:
    store = SqliteStore(directory)
    found: dict[str, float] = {}
    for length in (_SHORT, _LONG):
        load, save = await _turns_at(store, length)
        found |= {f"load_{length}_us": load, f"save_{length}_us": save}
    found["events_per_second"] = await _appends(store)
    await store.close()
    return found


async def _turns_at(store: SqliteStore, length: int) -> tuple[float, float]:
    """Return the microseconds of a begin and of a finish in sessions of `length` messages.

    Each turn has a session of its own, so that the short ones stay short.
    """
    load = save = 0.0
    sessions = [f"ses_{length}_{number}" for number in range(_TURNS if length == _SHORT else 1)]
    for session_id in sessions:
        await store.create(NewSession(session_id, "me", "a", "p", "1"), _BOUNDS)
        await _finish(store, await _begin(store, session_id), length)
    for number in range(_TURNS):
        start = time.perf_counter()
        begun = await _begin(store, sessions[number % len(sessions)])
        middle = time.perf_counter()
        await _finish(store, begun, 2)
        load += middle - start
        save += time.perf_counter() - middle
    return load / _TURNS * 1e6, save / _TURNS * 1e6


async def _begin(store: SqliteStore, session_id: str) -> tuple[str, Begun]:
    turn = BeginTurn(session_id, "me", "p", "1", None, 1000, _FAR, _SHORT)
    name = str(next(_numbers))
    begun = await store.begin(Begin(name, (), {}, _FAR, turn=turn), _BOUNDS)
    if not isinstance(begun, Begun):
        raise MeasurementError(f"the turn was refused: {begun}")
    return name, begun


async def _finish(store: SqliteStore, work: tuple[str, Begun], messages: int) -> None:
    name, begun = work
    assert begun.turn is not None
    line = LedgerLine(name, "model", 0, "me", "a", "p", "1", "m", 1, 1, None)
    end = TurnEnd(begun.turn, "completed", _conversation(messages))
    await store.finish(Finish(name, (), {}, (line,), turn=end), _BOUNDS)


def _conversation(length: int) -> tuple[ModelMessage, ...]:
    pair = (ModelMessage("user", _TEXT), ModelMessage("assistant", _TEXT))
    return pair * (length // 2)


async def _appends(store: SqliteStore) -> float:
    async def write(_: int) -> None:
        for _ in range(_EVENTS_EACH):
            ending = Finish(str(next(_numbers)), (), {}, (), events=(_event(),))
            await store.finish(ending, _BOUNDS)

    return await _per_second(lambda: _all(write))


async def _all(write: Callable[[int], Awaitable[None]]) -> None:
    await asyncio.gather(*map(write, range(_WRITERS)))


async def _per_second(run: Callable[[], Awaitable[None]]) -> float:
    start = time.perf_counter()
    await run()
    return _WRITERS * _EVENTS_EACH / (time.perf_counter() - start)


def _event() -> Event:
    return Event(str(next(_numbers)), "turn.start", 0, "me", "ses_1", data={"tokens": 1})


def _whole_document(directory: Path) -> Measurement:
    connection = _connection(directory)
    connection.execute("CREATE TABLE sessions (id TEXT PRIMARY KEY, document BLOB)")
    found: dict[str, float] = {}
    for length in (_SHORT, _LONG):
        said = [{"role": "user", "content": _TEXT} for _ in range(length)]
        with connection:
            connection.execute("INSERT OR REPLACE INTO sessions VALUES ('s', ?)", (_json(said),))
        load = save = 0.0
        for turn in range(_TURNS):
            start = time.perf_counter()
            row = connection.execute("SELECT document FROM sessions WHERE id = 's'").fetchone()
            document = orjson.loads(row[0])
            middle = time.perf_counter()
            document[-1] = {"role": "assistant", "content": f"{_TEXT}{turn}"}
            with connection:
                connection.execute("UPDATE sessions SET document = ?", (_json(document),))
            load += middle - start
            save += time.perf_counter() - middle
        found[f"load_{length}_us"] = load / _TURNS * 1e6
        found[f"save_{length}_us"] = save / _TURNS * 1e6
    connection.close()
    return found


def _row_per_commit(directory: Path) -> Measurement:
    connection = _connection(directory)
    connection.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY, data TEXT)")
    start = time.perf_counter()
    for _ in range(_WRITERS * _EVENTS_EACH // 4):
        with connection:
            connection.execute("INSERT INTO events (data) VALUES (?)", (_json({"tokens": 1}),))
    seconds = time.perf_counter() - start
    connection.close()
    return {"events_per_second": _WRITERS * _EVENTS_EACH // 4 / seconds}


def _connection(directory: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(Path(mkdtemp(dir=directory)) / "reference.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _json(value: object) -> bytes:
    return orjson.dumps(value)
