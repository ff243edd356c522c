"""The embedded store's lists: events, usage, policies, API keys."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

from bulkhead_runtime.events.port import Event
from bulkhead_runtime.store.figures import FigureRow
from bulkhead_runtime.store.records import (
    EventFilter,
    LedgerPage,
    StoredEvent,
    StoredKey,
    StoredPolicy,
    UsageGroup,
    UsageRow,
)
from bulkhead_runtime.store.sqlite import catalogue, event_rows, figure_rows, ledger
from bulkhead_runtime.store.sqlite.access import FileAccess


class SqliteRecords:
    """The ports of store/records.py and store/figures.py over one file."""

    def __init__(self, file: FileAccess) -> None:
        self._file = file

    async def append_events(self, events: tuple[Event, ...]) -> None:
        """Store a batch in one transaction; on disk with the next turn at the latest."""
        await self._file.writer.run(partial(event_rows.append, events=events), durable=False)

    async def events(self, wanted: EventFilter, *, limit: int) -> tuple[StoredEvent, ...]:
        """Return events after `wanted.after`, oldest first."""
        query = partial(event_rows.page, wanted=wanted, limit=limit)
        if wanted.session_id is None and (wanted.types or wanted.trace_id or wanted.principal):
            return await self._file.scan(query)
        return self._file.read(query)

    async def remove_events(self, *, before: int, keep: int, limit: int) -> int:
        """Remove up to `limit` events, older than a time or beyond `keep`; return how many."""
        return await self._file.writer.run(
            partial(event_rows.remove, before=before, keep=keep, limit=limit)
        )

    async def trim_ledger(self, *, before: int, limit: int) -> int:
        """Turn up to `limit` lines older than a time into sums by day; return how many."""
        return await self._file.writer.run(partial(ledger.trim_older, before=before, limit=limit))

    async def usage_by(
        self, groups: tuple[UsageGroup, ...], *, since: int, until: int, principal: str | None
    ) -> tuple[UsageRow, ...]:
        """Return sums by group over [since, until), ordered by group."""
        return await self._file.scan(
            partial(ledger.usage_by, groups=groups, since=since, until=until, principal=principal)
        )

    async def ledger(
        self, *, since: int, until: int, principal: str | None, limit: int, cursor: str | None
    ) -> LedgerPage:
        """Return one page of lines."""
        return await self._file.scan(
            partial(
                ledger.page,
                since=since,
                until=until,
                principal=principal,
                limit=limit,
                cursor=cursor,
            )
        )

    async def policies(self) -> tuple[StoredPolicy, ...]:
        """Return all, ordered by kind and name."""
        return self._file.read(catalogue.policies)

    async def put_policy(self, policy: StoredPolicy) -> None:
        """Store or replace one; durable when this returns."""
        await self._file.writer.run(partial(catalogue.put_policy, policy=policy))

    async def delete_policy(self, kind: Literal["tool", "model"], name: str) -> bool:
        """Remove one; tell whether it was there."""
        return await self._file.writer.run(partial(catalogue.delete_policy, kind=kind, name=name))

    async def keys(self) -> tuple[StoredKey, ...]:
        """Return all, ordered by name."""
        return self._file.read(catalogue.keys)

    async def put_key(self, key: StoredKey) -> bool:
        """Store a new key; tell whether the name was free; durable when this returns."""
        return await self._file.writer.run(partial(catalogue.put_key, key=key))

    async def delete_key(self, name: str) -> bool:
        """Remove one; tell whether it was there."""
        return await self._file.writer.run(partial(catalogue.delete_key, name=name))

    async def keep_figures(self, rows: tuple[FigureRow, ...], *, oldest: Mapping[int, int]) -> None:
        """Store or replace rows and forget old ones; on disk with the next turn at the latest."""
        keep = partial(figure_rows.keep, rows=rows, oldest=oldest)
        await self._file.writer.run(keep, durable=False)

    async def figures(self, step: int, *, since: int, until: int) -> tuple[FigureRow, ...]:
        """Return the rows of a step that began in [since, until), oldest first."""
        return await self._file.scan(
            partial(figure_rows.between, step=step, since=since, until=until)
        )
