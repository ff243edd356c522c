"""The port between the kernel and whatever keeps conversations.

Turns begin and end with the work that they belong to (store/spending.py); here is what is read
and changed beside them. Times are Unix milliseconds, a session's cost is decimal text.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

from msgspec import Struct, field

from bulkhead_api.runtime_config import RuntimeConfig
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.store.states import SessionStatus

AutonomyLevel = Literal["L0", "L1", "L2", "L3"]


class Session(Struct, frozen=True):
    """A conversation of one principal with one agent, on the package version it began with.

    `updated_at` is its last activity; without more of it the session is gone at `expires_at`,
    never when that is None. `summary` stands for the messages up to `summary_until` (a sequence)
    in what a turn sends to a model; `context_tokens` is what the last turn sent.
    """

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
    title: str = ""
    autonomy_level: AutonomyLevel = "L1"
    compactions: int = 0
    context_tokens: int = 0
    summary: str | None = None
    summary_until: int = 0
    expires_at: int | None = None


class NewSession(Struct, frozen=True):
    """What a session begins with; the title is bounded by the caller, like the metadata."""

    id: str
    principal: str
    agent: str
    package: str
    version: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    autonomy_level: AutonomyLevel = "L1"


class Summary(Struct, frozen=True):
    """What replaces the messages up to the sequence `until` in what later turns load.

    The messages themselves stay in the history. One that reaches no further than the summary
    there is changes nothing.
    """

    session_id: str
    text: str
    until: int


class StoredMessage(Struct, frozen=True):
    """A message as it lies in the store; `sequence` counts from 1 within its session."""

    sequence: int
    turn: int
    created_at: int
    message: ModelMessage
    tokens: int


class SessionBounds(Struct, frozen=True):
    """What sessions may be; None does not bound.

    `parallel` counts the sessions that are in a turn and `per_minute` those that begin, both over
    all replicas. After `expire_after_seconds` without activity a session is archived.
    """

    expire_after_seconds: int | None = None
    per_principal: int | None = None
    per_minute: int | None = None
    messages: int | None = None
    parallel: int | None = None


class PoolBounds(Struct, frozen=True):
    """What the pool allows; `retention_seconds` None keeps sessions for ever.

    Archived sessions and answers kept for idempotency lie in the pool too; the archived give way,
    oldest first, when a turn needs their room.
    """

    name: str
    max_memory_mb: int
    retention_seconds: int | None
    sessions: SessionBounds = SessionBounds()

    @classmethod
    def configured(cls, source: RuntimeConfig) -> "PoolBounds":
        """Return the bounds of the pool and of the sessions in it that a configuration names."""
        limits, pool = source.limits, source.pool
        return cls(
            pool.name,
            pool.max_memory_mb,
            pool.default_retention_seconds,
            SessionBounds(
                expire_after_seconds=source.sessions.expire_after_seconds,
                per_principal=limits.max_sessions_per_principal,
                per_minute=limits.session_creations_per_minute,
                messages=limits.max_messages_per_session,
                parallel=limits.max_parallel_sessions,
            ),
        )

    @property
    def max_bytes(self) -> int:
        """Return the bound in bytes."""
        return self.max_memory_mb * 1024 * 1024

    @property
    def idle_seconds(self) -> int | None:
        """Return after how long without activity a session reads as none."""
        bounds = (self.retention_seconds, self.sessions.expire_after_seconds)
        return min((seconds for seconds in bounds if seconds is not None), default=None)


class BeginTurn(Struct, frozen=True):
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


class Turn(Struct, frozen=True):
    """A turn that may run; `fence` proves at its end that nobody took the session meanwhile.

    `history` begins with a user's message, after `summary_until`; its messages have the sequences
    from `first_sequence` on, without gap.
    """

    session_id: str
    number: int
    fence: int
    history: tuple[ModelMessage, ...]
    first_sequence: int = 1
    summary: str | None = None
    summary_until: int = 0
    compactions: int = 0
    context_tokens: int = 0
    autonomy_level: AutonomyLevel = "L1"


class SessionPage(Struct, frozen=True):
    """Sessions, newest first, and the cursor of the next page, None on the last."""

    items: tuple[Session, ...]
    next_cursor: str | None


class MessagePage(Struct, frozen=True):
    """Messages, oldest first, and the cursor of the next page, None on the last."""

    items: tuple[StoredMessage, ...]
    next_cursor: str | None


class PoolUsage(Struct, frozen=True):
    """What the pool holds; archived sessions count apart, for they give way to others."""

    used_bytes: int
    sessions: int
    archived_bytes: int = 0


class ExpiredSession(Struct, frozen=True):
    """A session that was archived because nothing happened in it."""

    id: str
    principal: str


class Swept(Struct, frozen=True):
    """What a sweep did; `due_at` is when the next one has something to do, None for never."""

    expired: tuple[ExpiredSession, ...]
    removed: int
    due_at: int | None


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
        """Store a session without any turn; durable when this returns."""
        ...

    async def delete(self, session_id: str, principal: str | None) -> None:
        """Archive a session: it reads as none from now on, whatever turn it is in.

        What it used stays in the ledger, itself for the audit until the retention has passed.
        """
        ...

    async def mark(self, turn: Turn, status: SessionStatus) -> bool:
        """Show a running turn's state; False when the session is no longer this turn's.

        Raises `IllegalTransitionError` for what the table of states does not allow.
        """
        ...

    async def interrupt(self, session_id: str) -> bool:
        """Ask for the end of the turn that holds a session; False where none does.

        The wish is for that turn alone, and asking again changes nothing.
        """
        ...

    async def interrupted(self, turns: tuple[Turn, ...]) -> frozenset[str]:
        """Return the sessions of running `turns` that were asked to end, or that were deleted."""
        ...

    async def sweep(self, bounds: PoolBounds) -> Swept:
        """Archive what expired and remove what is past the retention, a bounded number of each."""
        ...
