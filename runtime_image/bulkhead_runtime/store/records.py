"""The ports for what is listed and audited: events, usage, policies, API keys."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

from bulkhead_runtime.events.port import Event
from bulkhead_runtime.store.spending import LedgerLine


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with its place in the organization's order; `sequence` never repeats."""

    sequence: int
    event: Event


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events; empty or None leaves a part open.

    Where there are more than asked for, the oldest are meant, with `newest` the newest.
    """

    types: tuple[str, ...] = ()
    session_id: str | None = None
    trace_id: str | None = None
    principal: str | None = None
    after: int = 0
    newest: bool = False

    def matches(self, event: Event) -> bool:
        """Tell whether an event is one of these, wherever it stands in the order."""
        return (
            (not self.types or event.type in self.types)
            and self.session_id in {None, event.session_id}
            and self.trace_id in {None, event.trace_id}
            and self.principal in {None, event.principal}
        )


class EventLog(Protocol):
    """Keeps events in order."""

    async def append_events(self, events: tuple[Event, ...]) -> None:
        """Store a batch in one transaction."""
        ...

    async def events(self, wanted: EventFilter, *, limit: int) -> tuple[StoredEvent, ...]:
        """Return up to `limit` events after `wanted.after`, oldest first."""
        ...

    async def remove_events(self, *, before: int, keep: int, limit: int) -> int:
        """Remove up to `limit` events that are older than a time or beyond the newest `keep`.

        Returns how many, 0 once none is left to remove; oldest first.

        One replica does so at a time; others return 0 meanwhile.
        """
        ...


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one group used; `uncosted` counts the uses whose price is unknown."""

    group: tuple[str, ...]
    uses: int
    input_tokens: int
    output_tokens: int
    cost: Decimal
    uncosted: int


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """Ledger lines, newest first, and the cursor of the next page."""

    items: tuple[LedgerLine, ...]
    next_cursor: str | None


UsageGroup = Literal["day", "agent", "model", "principal", "type"]
"""A day is its date in UTC, as 2026-11-21."""

MAX_POLICIES = 200
MAX_KEYS = 1000
"""More are refused with a 409 `Problem`."""


class UsageLog(Protocol):
    """Answers what was used; totals are sums over the ledger, never counted apart.

    Lines that had to make room live on as sums by day and group, so totals never shrink.
    """

    async def usage_by(
        self, groups: tuple[UsageGroup, ...], *, since: int, until: int, principal: str | None
    ) -> tuple[UsageRow, ...]:
        """Return sums by group over [since, until), ordered by group."""
        ...

    async def trim_ledger(self, *, before: int, limit: int) -> int:
        """Turn up to `limit` lines older than a time into sums by day; return how many.

        One replica does so at a time; others return 0 meanwhile.
        """
        ...

    async def ledger(
        self, *, since: int, until: int, principal: str | None, limit: int, cursor: str | None
    ) -> LedgerPage:
        """Return one page of lines."""
        ...


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """Rules that were added through the API; `document` is the policy's JSON."""

    kind: Literal["tool", "model"]
    name: str
    document: str
    principal: str
    created_at: int


class PolicyLog(Protocol):
    """Keeps the policies that the API added."""

    async def policies(self) -> tuple[StoredPolicy, ...]:
        """Return all, ordered by kind and name."""
        ...

    async def put_policy(self, policy: StoredPolicy) -> None:
        """Store or replace one."""
        ...

    async def delete_policy(self, kind: Literal["tool", "model"], name: str) -> bool:
        """Remove one; tell whether it was there."""
        ...


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key made through the API; `digest` is SHA-256 of the token, which is not kept."""

    name: str
    digest: str
    principal: str
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int | None


class KeyLog(Protocol):
    """Keeps the API keys that the API made."""

    async def keys(self) -> tuple[StoredKey, ...]:
        """Return all, ordered by name."""
        ...

    async def put_key(self, key: StoredKey) -> bool:
        """Store a new key; tell whether the name was free."""
        ...

    async def delete_key(self, name: str) -> bool:
        """Remove one; tell whether it was there."""
        ...
