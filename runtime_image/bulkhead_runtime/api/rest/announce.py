"""Tells the event bus what was done through these routes, for the audit."""

import time
from typing import Any

from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.events.bus import new_event_id
from bulkhead_runtime.events.port import Event
from bulkhead_runtime.runtime import Runtime


def announce(
    runtime: Runtime,
    exchange: Exchange,
    kind: str,
    *,
    session_id: str | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Publish one event of the caller; never waits and never fails."""
    runtime.events.publish(
        Event(
            id=new_event_id(),
            type=kind,
            at=time.time_ns() // 10**6,
            principal=exchange.principal.name,
            session_id=session_id,
            trace_id=exchange.trace.trace_id,
            data=data or {},
        )
    )
