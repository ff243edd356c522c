"""The port between everything that reports what happened and those who keep or watch it."""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from msgspec import Struct, field

from bulkhead_runtime.identifiers import new_id

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


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


def happened(
    type_: str,
    principal: str = "",
    *,
    session_id: str | None = None,
    trace_id: str | None = None,
    run_id: str | None = None,
    data: Mapping[str, Any] = _NOTHING,
) -> Event:
    """Return an event of this moment, under an id that no other has."""
    now = time.time_ns() // 1_000_000
    return Event(new_id("evt"), type_, now, principal, session_id, trace_id, run_id, data)


class Events(Protocol):
    """Takes events; never blocks, never raises; what overflows is counted."""

    def publish(self, event: Event) -> None:
        """Hand an event to subscribers and to the log."""
        ...
