"""What is listed and audited, in PostgreSQL: events, usage, policies, API keys."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from bulkhead_runtime.events.port import Event
from bulkhead_runtime.store import refusals
from bulkhead_runtime.store.figures import FigureRow
from bulkhead_runtime.store.postgres import decoding, encoding
from bulkhead_runtime.store.postgres.lane import Lane
from bulkhead_runtime.store.postgres.pool import Pool
from bulkhead_runtime.store.records import (
    MAX_KEYS,
    MAX_POLICIES,
    EventFilter,
    LedgerPage,
    StoredEvent,
    StoredKey,
    StoredPolicy,
    UsageGroup,
    UsageRow,
)
from bulkhead_runtime.store.spending import LedgerLine

_EVENTS = """
SELECT sequence, id, type, at, principal, session_id, trace_id, run_id, data
FROM bulkhead.events WHERE sequence > %s {conditions} ORDER BY sequence {order} LIMIT %s
"""
_REMOVE_EVENTS = "SELECT bulkhead.remove_events(%s, %s, %s)"
_TRIM_LEDGER = "SELECT bulkhead.trim_ledger(%s, %s)"
_LEDGER = """
SELECT id, type, at, principal, agent, package, version, model, input_tokens, output_tokens, cost,
    session_id, job_id, run_id, tool
FROM bulkhead.ledger WHERE at >= %s AND at < %s AND (at, id) < (%s, %s) {mine}
ORDER BY at DESC, id DESC LIMIT %s
"""
_USAGE = """
SELECT {columns} sum(uses)::bigint, sum(input_tokens)::bigint, sum(output_tokens)::bigint,
    coalesce(sum(cost), 0), sum(uncosted)::bigint
FROM (
    SELECT at / 86400000 AS day, agent, model, principal, type, 1 AS uses, input_tokens,
        output_tokens, cost, (cost IS NULL)::integer AS uncosted
    FROM bulkhead.ledger WHERE at >= %(since)s AND at < %(until)s {mine}
    UNION ALL
    SELECT day, agent, model, principal, type, uses, input_tokens, output_tokens, cost, uncosted
    FROM bulkhead.usage_days
    WHERE day * 86400000 >= %(since)s AND day * 86400000 < %(until)s {mine}
) AS used {grouping}
"""
_GROUPS: dict[UsageGroup, str] = {
    "day": "to_char(to_timestamp(day * 86400) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    "agent": "agent",
    "model": "model",
    "principal": "principal",
    "type": "type",
}
_POLICIES = (
    "SELECT kind, name, document, principal, created_at FROM bulkhead.policies ORDER BY kind, name"
)
_DELETE_POLICY = """
WITH gone AS (DELETE FROM bulkhead.policies WHERE kind = %s AND name = %s RETURNING 1)
SELECT count(*) FROM gone
"""
_KEYS = (
    "SELECT name, digest, principal, scopes, created_at, expires_at FROM bulkhead.keys "
    "ORDER BY name"
)
_DELETE_KEY = """
WITH gone AS (DELETE FROM bulkhead.keys WHERE name = %s RETURNING 1) SELECT count(*) FROM gone
"""
_KEEP_FIGURES = """
WITH kept AS (
    INSERT INTO bulkhead.figures (step, at, process, figures)
    SELECT * FROM unnest(%s::integer[], %s::bigint[], %s::text[], %s::bytea[])
    ON CONFLICT (organization, step, at, process) DO UPDATE SET figures = excluded.figures
), gone AS (
    DELETE FROM bulkhead.figures USING unnest(%s::integer[], %s::bigint[]) AS oldest (step, at)
    WHERE figures.step = oldest.step AND figures.at < oldest.at
) SELECT 1
"""
_FIGURES_BETWEEN = """
SELECT step, at, process, figures FROM bulkhead.figures
WHERE step = %s AND at >= %s AND at < %s ORDER BY at, process
"""


class Records:
    """The ports `EventLog`, `UsageLog`, `PolicyLog`, `KeyLog` and `FigureLog`."""

    def __init__(self, pool: Pool, lane: Lane) -> None:
        self._pool = pool
        self._lane = lane

    async def append_events(self, events: tuple[Event, ...]) -> None:
        """Store a batch in one transaction."""
        item = {"do": "events", "events": encoding.events(events)}
        decoding.checked(await self._lane.do(encoding.encode(item)))

    async def events(self, wanted: EventFilter, *, limit: int) -> tuple[StoredEvent, ...]:
        """Return events after `wanted.after`, oldest first."""
        named = {
            "type": list(wanted.types) or None,
            "session_id": wanted.session_id,
            "trace_id": wanted.trace_id,
            "principal": wanted.principal,
        }
        asked = {column: value for column, value in named.items() if value is not None}
        conditions = "".join(
            f"AND {column} = {'ANY(%s)' if column == 'type' else '%s'} " for column in asked
        )
        order = "DESC" if wanted.newest else "ASC"
        found = await self._pool.ask(
            _EVENTS.format(conditions=conditions, order=order),
            (wanted.after, *asked.values(), limit),
        )
        rows = reversed(found) if wanted.newest else found
        return tuple(StoredEvent(sequence, Event(*columns)) for sequence, *columns in rows)

    async def remove_events(self, *, before: int, keep: int, limit: int) -> int:
        """Remove up to `limit` events, older than a time or beyond `keep`; return how many."""
        return await self._count(_REMOVE_EVENTS, (before, keep, limit))

    async def usage_by(
        self, groups: tuple[UsageGroup, ...], *, since: int, until: int, principal: str | None
    ) -> tuple[UsageRow, ...]:
        """Return sums by group over [since, until), ordered by group."""
        columns = "".join(f"{_GROUPS[group]}, " for group in groups)
        places = ", ".join(str(place) for place in range(1, len(groups) + 1))
        found = await self._pool.ask(
            _USAGE.format(
                columns=columns,
                mine="" if principal is None else "AND principal = %(principal)s",
                grouping=f"GROUP BY {places} ORDER BY {places}" if groups else "",
            ),
            {"since": since, "until": until, "principal": principal},
        )
        width = len(groups)
        return tuple(UsageRow(tuple(row[:width]), *row[width:]) for row in found if row[width])

    async def trim_ledger(self, *, before: int, limit: int) -> int:
        """Turn up to `limit` lines older than a time into sums by day; return how many."""
        return await self._count(_TRIM_LEDGER, (before, limit))

    async def ledger(
        self, *, since: int, until: int, principal: str | None, limit: int, cursor: str | None
    ) -> LedgerPage:
        """Return one page of lines."""
        mine, owner = _mine(principal)
        found = await self._pool.ask(
            _LEDGER.format(mine=mine),
            (since, until, *encoding.after(cursor), *owner, limit + 1),
        )
        items = tuple(LedgerLine(*row) for row in found[:limit])
        more = len(found) > limit
        return LedgerPage(items, f"{items[-1].at}.{items[-1].id}" if more else None)

    async def policies(self) -> tuple[StoredPolicy, ...]:
        """Return all, ordered by kind and name."""
        return tuple(StoredPolicy(*row) for row in await self._pool.ask(_POLICIES))

    async def put_policy(self, policy: StoredPolicy) -> None:
        """Store or replace one."""
        item = {"do": "policy", "limit": MAX_POLICIES, **asdict(policy)}
        if not decoding.checked(await self._lane.do(encoding.encode(item))):
            raise refusals.too_many_records("policies", MAX_POLICIES)

    async def delete_policy(self, kind: Literal["tool", "model"], name: str) -> bool:
        """Remove one; tell whether it was there."""
        return bool(await self._count(_DELETE_POLICY, (kind, name)))

    async def keys(self) -> tuple[StoredKey, ...]:
        """Return all, ordered by name."""
        return tuple(
            StoredKey(name, digest, principal, tuple(scopes), created_at, expires_at)
            for name, digest, principal, scopes, created_at, expires_at in await self._pool.ask(
                _KEYS
            )
        )

    async def put_key(self, key: StoredKey) -> bool:
        """Store a new key; tell whether the name was free."""
        item = {"do": "key", "limit": MAX_KEYS, **asdict(key)}
        stored = decoding.checked(await self._lane.do(encoding.encode(item)))
        if stored is None:
            raise refusals.too_many_records("API keys", MAX_KEYS)
        return bool(stored)

    async def delete_key(self, name: str) -> bool:
        """Remove one; tell whether it was there."""
        return bool(await self._count(_DELETE_KEY, (name,)))

    async def keep_figures(self, rows: tuple[FigureRow, ...], *, oldest: Mapping[int, int]) -> None:
        """Store or replace rows, and forget those of each step that began before `oldest`."""
        columns = ("step", "at", "process", "figures")
        written = ([getattr(row, column) for row in rows] for column in columns)
        await self._pool.ask(_KEEP_FIGURES, (*written, [*oldest], [*oldest.values()]))

    async def figures(self, step: int, *, since: int, until: int) -> tuple[FigureRow, ...]:
        """Return the rows of a step that began in [since, until), oldest first."""
        found = await self._pool.ask(_FIGURES_BETWEEN, (step, since, until))
        return tuple(FigureRow(*row) for row in found)

    async def _count(self, question: str, values: Any) -> int:
        ((count,),) = await self._pool.ask(question, values)
        return int(count)


def _mine(principal: str | None) -> tuple[str, tuple[str, ...]]:
    return ("", ()) if principal is None else ("AND principal = %s", (principal,))
