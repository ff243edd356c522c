"""The log of events: in order, trimmed to a bound."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from bulkhead_runtime.events.port import Event
from bulkhead_runtime.store.records import EventFilter, StoredEvent

MAX_EVENTS = 500_000
EVENT_BYTES = 350
"""Events beyond what is kept leave, oldest first; with its index entry each."""

_TRIM_EVERY = 1000
_COLUMNS = "id, type, at, principal, session_id, trace_id, run_id, data"


def append(connection: sqlite3.Connection, events: Sequence[Event]) -> None:
    """Write events in the order given."""
    if not events:
        return
    connection.executemany(
        f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 (constant)
        map(_row, events),
    )
    (newest,) = connection.execute("SELECT last_insert_rowid()").fetchone()
    if newest % _TRIM_EVERY < len(events):
        connection.execute(
            "DELETE FROM events WHERE sequence <= ? - (SELECT kept_events FROM pool)", (newest,)
        )


def page(
    connection: sqlite3.Connection, wanted: EventFilter, *, limit: int
) -> tuple[StoredEvent, ...]:
    """Return events after `wanted.after`, oldest first."""
    conditions, values = _conditions(wanted)
    order = "DESC" if wanted.newest else "ASC"
    found = connection.execute(
        f"SELECT sequence, {_COLUMNS} FROM events WHERE {conditions} "  # noqa: S608 (names of columns)
        f"ORDER BY sequence {order} LIMIT ?",
        (*values, limit),
    ).fetchall()
    return tuple(map(_stored, reversed(found) if wanted.newest else found))


def remove(connection: sqlite3.Connection, *, before: int, keep: int, limit: int) -> int:
    """Remove up to `limit` of the oldest, older than a time or beyond `keep`; return how many."""
    return connection.execute(
        "DELETE FROM events "
        "WHERE (at < ? OR sequence <= (SELECT max(sequence) FROM events) - ?) "
        "AND sequence IN (SELECT sequence FROM events ORDER BY sequence LIMIT ?)",
        (before, keep, limit),
    ).rowcount


def _row(event: Event) -> tuple[Any, ...]:
    return (
        event.id,
        event.type,
        event.at,
        event.principal,
        event.session_id,
        event.trace_id,
        event.run_id,
        orjson.dumps(dict(event.data)).decode(),
    )


def _conditions(wanted: EventFilter) -> tuple[str, list[str | int]]:
    conditions: list[str] = ["sequence > ?"]
    values: list[str | int] = [wanted.after]
    if wanted.types:
        conditions.append(f"type IN ({', '.join('?' * len(wanted.types))})")
        values.extend(wanted.types)
    for column in ("session_id", "trace_id", "principal"):
        value = getattr(wanted, column)
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    return " AND ".join(conditions), values


def _stored(row: tuple[Any, ...]) -> StoredEvent:
    sequence, *columns = row
    columns[-1] = orjson.loads(columns[-1])
    return StoredEvent(sequence, Event(*columns))
