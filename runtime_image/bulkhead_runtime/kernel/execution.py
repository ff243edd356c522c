"""An execution on its way through the middleware, and what it tells while it runs."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from bulkhead_api.v1alpha1.agent_package import Agent
from bulkhead_runtime.config.snapshot import Configuration
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.bounds import whole_seconds
from bulkhead_runtime.kernel.context import ExecutionContext
from bulkhead_runtime.kernel.purse import Purse
from bulkhead_runtime.kernel.requests import Repeatable
from bulkhead_runtime.models.port import Usage
from bulkhead_runtime.store.port import Turn
from bulkhead_runtime.store.spending import Amounts, Claim

Outcome = Literal["completed", "completed_with_errors", "error", "interrupted", "refused"]
Entry = Literal["agents:run", "models:call", "tools:run"]
"""The ways in; each is the scope that it needs."""

DIRECT = "direct"
"""Stands for the agent where a client addresses a model or a tool without one."""


class UsageTotal(Struct):
    """What all model calls of an execution took; the cost is unknown once one call's is."""

    input_tokens: int = 0
    output_tokens: int = 0
    _cost: Decimal | None = Decimal(0)

    def add(self, usage: Usage) -> None:
        """Add one call."""
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        known = self._cost is not None and usage.cost is not None
        self._cost = self._cost + usage.cost if known else None  # type: ignore[operator]  # `known`

    @property
    def known_cost(self) -> Decimal | None:
        """Return US dollars, None once a price was not known."""
        return self._cost

    @property
    def cost(self) -> str | None:
        """Return US dollars as decimal text."""
        return None if self._cost is None else format(self._cost, "f")


class Execution(Struct):
    """What the middleware needs to know, and what becomes known on the way.

    `texts` are what users wrote, for the limits on input and for safety. `agent`, `package` and
    `version` are labels from the configuration, never a client's text; `definition` is the agent
    as its package has it, None where a model or a tool is addressed. `begun` is True once the
    store has made or locked the session, for its `turn`; `followed` once another message waits for
    that turn's end. `beside` is what it takes beside the calls of its own work, `spoken` True once
    a model's first text came. `warnings` are for the client.
    """

    configuration: Configuration
    context: ExecutionContext
    entry: Entry
    purse: Purse
    started: float
    texts: tuple[str, ...] = ()
    agent: str = DIRECT
    definition: Agent | None = None
    package: str = ""
    version: str = ""
    model: str = ""
    repeatable: Repeatable | None = None
    claim: Claim | None = None
    begun: bool = False
    turn: Turn | None = None
    followed: bool = False
    spoken: bool = False
    beside: Amounts = field(default_factory=dict)
    outcome: Outcome = "error"
    usage: UsageTotal = field(default_factory=UsageTotal)
    warnings: list[str] = field(default_factory=list)
    ended_by: Problem | None = None
    """Why the work was ended from inside the runtime, where somebody did."""

    _task: "asyncio.Task[object] | None" = None

    @property
    def session_id(self) -> str | None:
        """Return the session that this belongs to."""
        return self.context.session_id

    @property
    def deadline(self) -> float:
        """Return when it is given up, as a time of `time.monotonic()`."""
        return self.context.deadline

    def seconds(self) -> Decimal:
        """Return how long it may take at most, as budgets count it."""
        return whole_seconds(self.deadline - self.started)

    def hurry(self, deadline: float) -> None:
        """Let it be given up earlier."""
        if deadline < self.context.deadline:
            self.context = replace(self.context, deadline=deadline)

    def runs_in(self, task: "asyncio.Task[object] | None") -> None:
        """Note the task that carries the work out, None when it is done."""
        self._task = task

    def end(self, reason: Problem) -> None:
        """End the work if it runs; whoever waits for it gets the reason."""
        if self._task is not None and self.ended_by is None:
            self.ended_by = reason
            self._task.cancel()


class Started(Struct, frozen=True):
    """The turn has begun: who answers, in which session, and what the client should know.

    `turn` is its number in the session, None where nothing is remembered.
    """

    session_id: str | None
    agent: str
    version: str
    model: str
    trace_id: str
    warnings: tuple[str, ...] = ()
    turn: int | None = None


class Token(Struct, frozen=True):
    """Text that continues the answer."""

    text: str


Event = Started | Token
Emit = Callable[[Event], Awaitable[None]]
Proceed = Callable[[], Awaitable[None]]
Middleware = Callable[[Execution, Proceed], Awaitable[None]]


async def discard(_: Event) -> None:
    """Take events that nobody listens to."""
