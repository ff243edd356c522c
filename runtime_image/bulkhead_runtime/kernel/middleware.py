"""What every execution passes, in this order, before and after it runs.

Telemetry is outermost, so that refusals are counted too; limits come before anything costs; the
deadline covers waiting for the turn before and for a place. Policy gets its place in this list.
"""

import asyncio
import logging
import time
from functools import partial

from bulkhead_runtime import errors
from bulkhead_runtime.kernel.admission import Admission, RateWindow, SessionGate
from bulkhead_runtime.kernel.execution import Execution, Middleware, Outcome, Proceed
from bulkhead_runtime.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_CLIENT_ERRORS = range(400, 500)


class Kernel:
    """Runs work inside the middleware."""

    def __init__(self, middlewares: tuple[Middleware, ...]) -> None:
        self._middlewares = middlewares

    async def run(self, execution: Execution, work: Proceed) -> None:
        """Run `work` as the innermost step; raises what it or a middleware raises."""
        proceed = work
        for middleware in reversed(self._middlewares):
            proceed = partial(middleware, execution, proceed)
        await proceed()


class Telemetry:
    """Counts and logs every execution with its outcome; ids and figures only."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Run the rest, then count."""
        try:
            await proceed()
        except BaseException as error:
            execution.outcome = _outcome(error)
            self._ended(execution, error)
            raise
        self._ended(execution, None)

    def _ended(self, execution: Execution, error: BaseException | None) -> None:
        seconds = time.monotonic() - execution.started
        metrics, usage = self._metrics, execution.usage
        metrics.execution_ended(
            execution.agent, execution.package, execution.version, execution.outcome
        )
        metrics.duration.labels(execution.agent).observe(seconds)
        metrics.tokens.labels(execution.agent, "input").inc(usage.input_tokens)
        metrics.tokens.labels(execution.agent, "output").inc(usage.output_tokens)
        if usage.cost is not None:
            metrics.cost.labels(execution.agent).inc(float(usage.cost))
        if log.isEnabledFor(logging.INFO):
            log.info(
                "Execution ended",
                extra={
                    "trace_id": execution.trace.trace_id,
                    "agent": execution.agent,
                    "version": execution.version,
                    "session_id": execution.session_id,
                    "outcome": execution.outcome,
                    "code": getattr(error, "code", None),
                    "seconds": round(seconds, 4),
                    "input_tokens": usage.input_tokens,
                    "output_tokens": usage.output_tokens,
                },
            )


def _outcome(error: BaseException) -> Outcome:
    if isinstance(error, asyncio.CancelledError):
        return "interrupted"
    if isinstance(error, errors.Problem) and error.status in _CLIENT_ERRORS:
        return "refused"
    return "error"


class InputLimit:
    """Refuses input messages longer than spec.limits.maxInputCharacters."""

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Check, then run the rest."""
        limit = execution.configuration.limits.max_input_characters
        if execution.characters > limit:
            raise errors.Problem(
                422,
                "input_too_long",
                f"`message` has {execution.characters} characters, at most {limit} are allowed "
                "(spec.limits.maxInputCharacters). Shorten it.",
                field="message",
            )
        await proceed()


class RateLimit:
    """Refuses what goes beyond spec.limits.rateLimitPerMinute."""

    def __init__(self, window: RateWindow) -> None:
        self._window = window

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Count, then run the rest."""
        self._window.admit(execution.configuration.limits.rate_limit_per_minute)
        await proceed()


class Deadline:
    """Ends what takes longer than it may."""

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Run the rest until the deadline."""
        seconds = execution.deadline - execution.started
        try:
            async with asyncio.timeout(execution.deadline - time.monotonic()):
                await proceed()
        except TimeoutError as error:
            raise errors.Problem(
                504,
                "execution_timeout",
                f"The execution was ended after {seconds:g} seconds, its limit "
                "(spec.limits.maxExecutionTimeSeconds or the agent's timeoutSeconds).",
            ) from error


class OneTurnAtATime:
    """Lets the turns of one session through one after the other."""

    def __init__(self, gate: SessionGate) -> None:
        self._gate = gate

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Run the rest when the turns before have ended."""
        if execution.session_id is None:
            await proceed()
            return
        waiting = execution.configuration.limits.max_queue_size
        async with self._gate.enter(execution.session_id, waiting):
            await proceed()


class Concurrency:
    """Waits for one of spec.limits.maxConcurrentAgents places."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Run the rest in its place."""
        limits = execution.configuration.limits
        async with self._admission.place(limits.max_concurrent_agents, limits.max_queue_size):
            await proceed()
