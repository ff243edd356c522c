"""The port between the kernel and whatever keeps conversations.

A turn takes three round trips: look the session up, begin (which locks it and loads the tail),
finish (which stores all of the turn or nothing). Times are Unix milliseconds, costs decimal text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from bulkhead_api.runtime_config import PoolConfig
from bulkhead_runtime.models.port import ModelMessage

SessionStatus = Literal[
    "idle", "executing", "completed", "completed_with_errors", "error", "interrupted"
]


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation of one principal with one agent, on the package version it began with."""

    id: str
    principal: str
    agent: str
    package: str
    version: str
    status: SessionStatus
    created_at: int
    updated_at: int
    turns: int
    messages: int
    input_tokens: int
    output_tokens: int
    cost: str | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a session begins with."""

    id: str
    principal: str
    agent: str
    package: str
    version: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as it lies in the store; `sequence` counts from 1 within its session."""

    sequence: int
    turn: int
    created_at: int
    message: ModelMessage
    tokens: int


@dataclass(frozen=True, slots=True)
class PoolBounds:
    """What the pool allows; `retention_seconds` None keeps sessions for ever."""

    name: str
    max_memory_mb: int
    retention_seconds: int | None

    @classmethod
    def of(cls, pool: PoolConfig) -> "PoolBounds":
        """Return the bounds that a configuration names."""
        return cls(pool.name, pool.max_memory_mb, pool.default_retention_seconds)

    @property
    def max_bytes(self) -> int:
        """Return the bound in bytes."""
        return self.max_memory_mb * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BeginTurn:
    """Asks for the one turn that a session may have at a time.

    `new` is given for a session that begins with this turn. `expected_bytes` is how much the turn
    may store; `expires_at` the time after which a holder that hangs loses the session.
    """

    session_id: str
    principal: str
    package: str
    version: str
    new: NewSession | None
    expected_bytes: int
    expires_at: int
    tail: int


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that may run; `fence` proves at its end that nobody took the session meanwhile."""

    session_id: str
    number: int
    fence: int
    history: tuple[ModelMessage, ...]


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One use of a model, counted whether or not its turn ended well."""

    agent: str
    package: str
    version: str
    model: str
    input_tokens: int
    output_tokens: int
    cost: str | None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class FinishTurn:
    """How a turn ended; `messages` is empty unless it is to be remembered."""

    turn: Turn
    status: SessionStatus
    messages: tuple[ModelMessage, ...]
    entry: LedgerEntry


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Sessions, newest first, and the cursor of the next page, None on the last."""

    items: tuple[Session, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages, oldest first, and the cursor of the next page, None on the last."""

    items: tuple[StoredMessage, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """What the pool holds."""

    used_bytes: int
    sessions: int


class SessionStore(Protocol):
    """Keeps conversations; raises `Problem` (404, 409, 422, 503, 507) for what it cannot do.

    A `principal` of None asks for everybody's: only for those whose scope says so.
    """

    async def session(self, session_id: str, principal: str | None, bounds: PoolBounds) -> Session:
        """Return a session; raise a 404 `Problem` for any that is not this principal's."""
        ...

    async def sessions(
        self, principal: str | None, bounds: PoolBounds, *, limit: int, cursor: str | None
    ) -> SessionPage:
        """Return one page of a principal's sessions."""
        ...

    async def messages(
        self,
        session_id: str,
        principal: str | None,
        bounds: PoolBounds,
        *,
        limit: int,
        cursor: str | None,
    ) -> MessagePage:
        """Return one page of a session's messages; raise a 404 `Problem` as `session` does."""
        ...

    async def usage(self) -> PoolUsage:
        """Return what the pool holds."""
        ...

    async def sessions_by_version(self) -> Mapping[tuple[str, str], int]:
        """Return how many sessions exist per (package, version)."""
        ...

    async def create(self, new: NewSession, bounds: PoolBounds) -> Session:
        """Store a session without any turn."""
        ...

    async def delete(self, session_id: str, principal: str | None) -> None:
        """Remove a session with its messages; what it used stays in the ledger."""
        ...

    async def begin_turn(self, request: BeginTurn, bounds: PoolBounds) -> Turn:
        """Lock the session for one turn and load the tail of its messages."""
        ...

    async def finish_turn(self, finish: FinishTurn, bounds: PoolBounds) -> None:
        """Store the turn and release the session; durable when this returns."""
        ...

    def record_use(self, entry: LedgerEntry) -> None:
        """Write a use outside any session to the ledger, without waiting for it."""
        ...

    async def remove_expired(self, bounds: PoolBounds) -> int:
        """Remove a bounded number of sessions past the retention; return how many."""
        ...
