"""Tells the event bus what was done through these routes, for the audit."""

from typing import Any

from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.events.port import happened
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
        happened(
            kind,
            exchange.principal.name,
            session_id=session_id,
            trace_id=exchange.trace.trace_id,
            data=data or {},
        )
    )
