"""Contexts of executions, as the kernel makes them for a request."""

import time

from bulkhead_runtime.kernel.context import ExecutionContext, Principal
from bulkhead_runtime.telemetry.trace import continue_trace


def execution_context(
    *,
    principal: str = "ann",
    scopes: tuple[str, ...] = ("agents:run",),
    policies: tuple[str, ...] = (),
    seconds: float = 10,
) -> ExecutionContext:
    """Return the context of a request of one principal."""
    return ExecutionContext(
        request_id="req_1",
        trace=continue_trace(None),
        organization="acme",
        principal=Principal(principal, frozenset(scopes), "key"),
        deadline=time.monotonic() + seconds,
        session_id="ses_1",
        agent="assistant",
        policies=policies,
    )
