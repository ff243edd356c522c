"""What every execution passes, in this order, whichever way it came in.

    telemetry     span, ids for log lines, events, counts; outermost, so that refusals are seen too
    idempotency   the same request twice is carried out once
    authorization the scope of the way in
    safety        limits on input, signs of injection
    limits        rate, then after the turns before: a place among those that run
    deadline      from here on everything ends in time
    (the runtime's own middleware, kernel.extensions)
    settlement    budget and lock before, ledger and answer after (kernel.settlement)
    moderation    of the input, which costs too (kernel.moderation)

Limits come before anything that costs.
"""

import asyncio
import logging
import time
from functools import partial
from typing import Final, TypeVar

from bulkhead_runtime import errors
from bulkhead_runtime.kernel import refusals
from bulkhead_runtime.kernel.admission import (
    WINDOW_SECONDS,
    Admission,
    RateLeft,
    Rates,
    RateWindow,
    SessionGate,
    rate_limited,
)
from bulkhead_runtime.kernel.context import HEALTH_CHECK
from bulkhead_runtime.kernel.execution import Execution, Middleware, Outcome, Proceed
from bulkhead_runtime.kernel.executions import Executions
from bulkhead_runtime.kernel.moderation import InputModeration
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.kernel.requests import Repeated
from bulkhead_runtime.kernel.settlement import Settlement, Work
from bulkhead_runtime.telemetry import logs
from bulkhead_runtime.telemetry.spans import Attribute, Tracing, failing

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_CLIENT_ERRORS: Final = range(400, 500)


class Kernel:
    """Runs work inside the middleware."""

    def __init__(
        self,
        middlewares: tuple[Middleware, ...],
        settlement: Settlement,
        moderation: InputModeration,
    ) -> None:
        self._middlewares = middlewares
        self._settlement = settlement
        self._moderation = moderation

    async def run(self, execution: Execution, work: Work[Result]) -> Result:
        """Run `work` as the innermost step and return its result.

        Raises what it or a middleware raises; a `Problem` tells the session that exists and what
        was spent.
        """
        results: list[Result] = []

        async def innermost() -> None:
            moderated = self._moderation.before(execution, work)
            results.append(await self._settlement.run(execution, moderated))

        proceed: Proceed = innermost
        for middleware in reversed(self._middlewares):
            proceed = partial(middleware, execution, proceed)
        try:
            await proceed()
        except errors.Problem as problem:
            _complete(problem, execution)
            raise
        if not results:
            raise errors.Problem(
                403, "refused_by_middleware", "A middleware of this runtime refused the request."
            )
        return results[0]


def _complete(problem: errors.Problem, execution: Execution) -> None:
    if execution.begun:
        problem.session_id = execution.session_id
    usage = execution.usage
    if execution.purse.lines:
        problem.spent = errors.Spent(usage.input_tokens, usage.output_tokens, usage.cost)


class Telemetry:
    """Traces, counts and logs every execution with its outcome; ids and figures only."""

    def __init__(self, reports: Reports, tracing: Tracing) -> None:
        self._reports = reports
        self._tracing = tracing

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Run the rest, then count."""
        context = execution.context
        ids = {
            "request_id": context.request_id,
            "trace_id": context.trace.trace_id,
            "principal": context.principal.name,
            "session_id": context.session_id,
            "run_id": context.run_id,
            "agent": execution.agent,
        }
        attributes = _attributes(execution) if self._tracing.active else {}
        run = self._tracing.run(context.trace, agent=execution.agent, attributes=attributes)
        with logs.bound(ids), run as span, failing(span):
            self._reports.accepted(execution)
            try:
                await proceed()
            except Repeated:
                raise
            except BaseException as error:
                execution.outcome = _outcome(error)
                self._ended(execution, error)
                raise
            self._ended(execution, None)
            span.set(
                {
                    "gen_ai.usage.input_tokens": execution.usage.input_tokens,
                    "gen_ai.usage.output_tokens": execution.usage.output_tokens,
                }
            )

    def _ended(self, execution: Execution, error: BaseException | None) -> None:
        seconds = time.monotonic() - execution.started
        self._reports.ended(execution, error, seconds)
        level = logging.WARNING if execution.outcome == "error" else logging.INFO
        if log.isEnabledFor(level):
            fields = _figures(execution, error, seconds)
            log.log(level, "Execution ended", extra={logs.FIELDS: fields})


def _figures(
    execution: Execution, error: BaseException | None, seconds: float
) -> dict[str, object]:
    """Return what a log line tells of an execution: lengths, never texts."""
    usage, turn = execution.usage, execution.turn
    return {
        "package": execution.package,
        "version": execution.version,
        "model": execution.model,
        "outcome": execution.outcome,
        "code": getattr(error, "code", None),
        "seconds": round(seconds, 4),
        "input_characters": sum(map(len, execution.texts)),
        "history_messages": 0 if turn is None else len(turn.history),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost": usage.cost,
    }


def _attributes(execution: Execution) -> dict[str, Attribute | None]:
    context = execution.context
    return {
        "gen_ai.conversation.id": context.session_id,
        "bulkhead.request.id": context.request_id,
        "bulkhead.run.id": context.run_id,
        "bulkhead.principal": context.principal.name,
        "bulkhead.package.name": execution.package,
        "bulkhead.package.version": execution.version,
    }


def _outcome(error: BaseException) -> Outcome:
    if isinstance(error, asyncio.CancelledError):
        return "interrupted"
    if isinstance(error, errors.Problem):
        if error.code == "interrupted":
            return "interrupted"
        if error.status in _CLIENT_ERRORS:
            return "refused"
    return "error"


class Authorization:
    """Lets in who has the scope of the way that was taken."""

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Check, then run the rest."""
        principal = execution.context.principal
        if not principal.may(execution.entry):
            raise errors.Problem(
                403,
                "missing_scope",
                f"This needs the scope `{execution.entry}`, which the key "
                f"{principal.key_name!r} does not have.",
            )
        await proceed()


class InputLimit:
    """Refuses input messages longer than spec.limits.maxInputCharacters."""

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Check, then run the rest."""
        limit = execution.configuration.limits.max_input_characters
        longest = max(map(len, execution.texts), default=0)
        if longest > limit:
            raise errors.Problem(
                422,
                "input_too_long",
                f"`message` has {longest} characters, at most {limit} are allowed "
                "(spec.limits.maxInputCharacters). Shorten it.",
                field="message",
            )
        await proceed()


class RateLimit:
    """Refuses what goes beyond spec.limits.rateLimitPerMinute, over all replicas.

    Where the replicas' common count cannot be had, each admits its share. Health checks neither
    count nor wait: they are few, and a busy organization must not make a good version look bad.
    """

    def __init__(self, window: RateWindow, rates: Rates | None, admission: Admission) -> None:
        self._window = window
        self._rates = rates
        self._admission = admission

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Count, then run the rest."""
        if execution.context.principal is not HEALTH_CHECK:
            await self._admit(execution)
        await proceed()

    async def _admit(self, execution: Execution) -> None:
        limit = execution.configuration.limits.rate_limit_per_minute
        replicas = execution.configuration.source.replicas
        verdict = None
        if self._rates is not None and replicas > 1:
            verdict = await self._rates.admit("executions", limit)
        if verdict is None:
            self._admit_share(max(1, limit // replicas))
        else:
            self._admission.rate = RateLeft(limit, verdict.left, WINDOW_SECONDS)
            if not verdict.admitted:
                raise rate_limited(limit, verdict.retry_after)

    def _admit_share(self, share: int) -> None:
        try:
            self._window.admit(share)
        finally:
            self._admission.rate = self._window.left(share)


class Deadline:
    """Ends what takes longer than it may."""

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Run the rest until the deadline."""
        try:
            async with asyncio.timeout(execution.deadline - time.monotonic()):
                await proceed()
        except TimeoutError as error:
            raise refusals.timed_out(execution) from error


class OneTurnAtATime:
    """Lets the turns of one session through one after the other."""

    def __init__(self, gate: SessionGate, executions: Executions) -> None:
        self._gate = gate
        self._executions = executions

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Run the rest when the turns before have ended."""
        if execution.session_id is None:
            await proceed()
            return
        waiting = execution.configuration.limits.max_queue_size
        self._executions.queue_behind(execution.session_id)
        await self._gate.enter(execution.session_id, waiting)
        try:
            await proceed()
        finally:
            self._gate.leave(execution.session_id)


class Concurrency:
    """Waits for one of spec.limits.maxConcurrentAgents places."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def __call__(self, execution: Execution, proceed: Proceed) -> None:
        """Run the rest in its place."""
        limits = execution.configuration.limits
        await self._admission.enter(limits.max_concurrent_agents, limits.max_queue_size)
        entered = time.monotonic()
        try:
            await proceed()
        finally:
            self._admission.leave(time.monotonic() - entered)
