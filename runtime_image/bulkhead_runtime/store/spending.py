"""The port between the kernel and the store of record for everything that spends.

A piece of work takes at most three round trips: `begin` claims the idempotency key, reserves the
worst case of the first model call, locks the session and loads its tail; `reserve` settles one
call and reserves the next, only when a loop goes on; `finish` stores messages, ledger, events and
the answer to repeat, settles what was reserved and releases the session. Each is one transaction:
all of it or nothing. A store that cannot be asked raises a 503 `Problem`: spending fails closed.

Amounts are `Decimal`: US dollars for cost, whole numbers for tokens, tool calls and turns,
seconds for seconds. Times are Unix milliseconds.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, Protocol

from msgspec import Struct

from bulkhead_runtime.events.port import Event
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.store import states
from bulkhead_runtime.store.port import BeginTurn, PoolBounds, Summary, Turn
from bulkhead_runtime.store.states import SessionStatus

Dimension = Literal["tokens", "cost", "tool_calls", "turns", "seconds"]
Amounts = Mapping[Dimension, Decimal]
Scope = Literal["session", "agent_day", "day", "total"]


class Account(Struct, frozen=True):
    """What is counted together, and how much of it may be used.

    `scope` and `key` name it: ("session", id), ("agent_day", "assistant/2026-11-21"),
    ("day", "2026-11-21"), ("total", ""). A dimension that `limits` leaves out is counted and not
    bounded. Limits are of the moment: raising one takes effect at the next reservation.
    """

    scope: Scope
    key: str
    limits: Amounts


class Balance(Struct, frozen=True):
    """Where an account stands after a step; `reserved` belongs to work that has not ended.

    Accounts without limits need not reserve, and may be missing among the balances of a step.
    """

    account: Account
    used: Amounts
    reserved: Amounts


class Claim(Struct, frozen=True):
    """Claims an idempotency key of one principal for one content, until `expires_at`.

    `key` and `content` are SHA-256 digests in hexadecimal; the store never sees the texts. A claim
    whose holder is gone (`lease_until` passed) may be taken over by the same content.
    """

    key: str
    principal: str
    content: str
    lease_until: int
    expires_at: int


class RepeatedAnswer(Struct, frozen=True):
    """The finished answer of a claim: HTTP status, media type and body, bounded to 1 MiB."""

    status: int
    content_type: str
    body: bytes


class Begin(Struct, frozen=True):
    """Asks to start; every part that is None is left out.

    `reservation_id` names what is reserved until `finish`; `reserve` is the worst case of the
    first call. `lease_until` bounds how long a reservation of a process that died is kept: after
    it the reservation counts as used in full (fails closed), as a line of type `abandoned` in the
    ledger, which needs `principal` and `agent` for it.
    """

    reservation_id: str
    accounts: tuple[Account, ...]
    reserve: Amounts
    lease_until: int
    claim: Claim | None = None
    turn: BeginTurn | None = None
    principal: str = ""
    agent: str = ""


class Begun(Struct, frozen=True):
    """Work that may run."""

    turn: Turn | None
    balances: tuple[Balance, ...]


class ClaimRefused(Struct, frozen=True):
    """The key is taken: finished (then `answer`), in flight, or with other content."""

    reason: Literal["finished", "in_flight", "conflict"]
    answer: RepeatedAnswer | None = None


class BudgetRefused(Struct, frozen=True):
    """Nothing was reserved: the account and the dimension that have no room, and what is left."""

    account: Account
    dimension: Dimension
    left: Decimal


LineType = Literal["model", "tool", "compaction", "moderation", "cache", "abandoned"]


class LedgerLine(Struct, frozen=True):
    """One use, once: a line whose id is there already is not written again.

    `cost` is None where no price is known. A cached answer has zero tokens and cost. `abandoned`
    is what a process that died had reserved: all its tokens as input.
    """

    id: str
    type: LineType
    at: int
    principal: str
    agent: str
    package: str
    version: str
    model: str
    input_tokens: int
    output_tokens: int
    cost: Decimal | None
    session_id: str | None = None
    job_id: str | None = None
    run_id: str | None = None
    tool: str | None = None


class TurnEnd(Struct, frozen=True):
    """How a turn ended; `messages` is empty unless it is to be remembered.

    `context_tokens` None leaves what the turn before sent. The session's own counters grow by the
    turn's ledger lines.
    """

    turn: Turn
    status: SessionStatus
    messages: tuple[ModelMessage, ...]
    context_tokens: int | None = None

    def __post_init__(self) -> None:
        """Raise `IllegalTransitionError` for a state in which no turn ends."""
        states.ending(self.status)


class Finish(Struct, frozen=True):
    """Ends work: `used` since the last step is settled against what is reserved still.

    A `summary` comes with a turn or without one; it needs no lock, for it only ever reaches
    further. An `answer` is kept only when the turn's messages are, too: else the key is free.
    """

    reservation_id: str
    accounts: tuple[Account, ...]
    used: Amounts
    lines: tuple[LedgerLine, ...]
    events: tuple[Event, ...] = ()
    turn: TurnEnd | None = None
    summary: Summary | None = None
    claim: Claim | None = None
    answer: RepeatedAnswer | None = None
    """None with a claim frees the key: the work failed and may be tried again."""


TurnOutcome = Literal["stored", "lost", "pool_full"]


class Finished(Struct, frozen=True):
    """What is stored; `turn` says what became of the turn's messages."""

    turn: TurnOutcome | None
    balances: tuple[Balance, ...]


class SpendingStore(Protocol):
    """The store of record for reservations, claims, turns and the ledger."""

    async def begin(
        self, request: Begin, bounds: PoolBounds
    ) -> Begun | ClaimRefused | BudgetRefused:
        """Start work, or say why not; raises the same `Problem`s as a session that cannot run.

        What is refused leaves nothing behind: no claim, no session, no reservation.
        """
        ...

    async def reserve(
        self,
        reservation_id: str,
        accounts: tuple[Account, ...],
        *,
        used: Amounts,
        reserve: Amounts,
        lease_until: int,
        lines: tuple[LedgerLine, ...] = (),
    ) -> Begun | BudgetRefused:
        """Settle the last call with `used` and reserve the next, renewing lock and lease.

        `lines` are the ledger's for what was used, so that a process that dies leaves accounts
        that the ledger explains; `finish` may bring them again, for the session's counters. What
        was used counts even when the next is refused. Raises `turn_lost` (409) when the turn's
        session was taken meanwhile, `reservation_gone` (409) when the reservation was given up.
        """
        ...

    async def renew(self, reservation_id: str, *, lease_until: int) -> bool:
        """Renew lock and lease of work that goes on; False when either was lost."""
        ...

    async def finish(self, request: Finish, bounds: PoolBounds) -> Finished:
        """Store how work ended; durable when this returns. Repeating it changes nothing."""
        ...

    async def balances(self, accounts: tuple[Account, ...]) -> tuple[Balance, ...]:
        """Return where accounts stand."""
        ...

    async def release_abandoned(self) -> int:
        """Settle reservations and free claims whose holder is gone; return how many.

        Forgets expired answers, too, a bounded number at a time.
        """
        ...
