"""The port between everything that reports what happened and those who keep or watch it."""

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct, field


class Event(Struct, frozen=True):
    """Something that happened at `at` (Unix milliseconds), with the ids to find it by.

    `type` is one of events.types; `data` holds bounded JSON values and never a secret or content.
    """

    id: str
    type: str
    at: int
    principal: str = ""
    session_id: str | None = None
    trace_id: str | None = None
    run_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


class Events(Protocol):
    """Takes events; never blocks, never raises; what overflows is counted."""

    def publish(self, event: Event) -> None:
        """Hand an event to subscribers and to the log."""
        ...
