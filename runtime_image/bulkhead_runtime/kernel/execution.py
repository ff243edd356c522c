"""An execution on its way through the middleware, and what it tells while it runs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from bulkhead_runtime.config.snapshot import Configuration
from bulkhead_runtime.models.port import Usage
from bulkhead_runtime.telemetry.trace import Trace

Outcome = Literal["completed", "completed_with_errors", "error", "interrupted", "refused"]

DIRECT = "direct"
"""Stands for the agent where a client addresses a model without one."""


@dataclass(slots=True)
class UsageTotal:
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
    def cost(self) -> str | None:
        """Return US dollars as decimal text."""
        return None if self._cost is None else format(self._cost, "f")


@dataclass(slots=True)
class Execution:
    """What the middleware needs to know; `deadline` is a time of `time.monotonic()`.

    `characters` is the length of the longest input message. `agent`, `package` and `version` are
    labels from the configuration, never a client's text.
    """

    configuration: Configuration
    trace: Trace
    agent: str
    characters: int
    started: float
    deadline: float
    package: str = ""
    version: str = ""
    session_id: str | None = None
    turn_begun: bool = False
    model: str = ""
    outcome: Outcome = "error"
    usage: UsageTotal = field(default_factory=UsageTotal)


@dataclass(frozen=True, slots=True)
class Started:
    """The turn has begun: who answers, and in which session."""

    session_id: str | None
    agent: str
    version: str
    model: str
    trace_id: str


@dataclass(frozen=True, slots=True)
class Token:
    """Text that continues the answer."""

    text: str


Event = Started | Token
Emit = Callable[[Event], Awaitable[None]]
Proceed = Callable[[], Awaitable[None]]
Middleware = Callable[[Execution, Proceed], Awaitable[None]]


async def discard(_: Event) -> None:
    """Take events that nobody listens to."""
