"""What every execution passes, in this order, whichever way it came in.

    telemetry     span, ids for log lines, events, counts; outermost, so that refusals are seen too
    idempotency   the same request twice is carried out once
    checks        the scope of the way in, limits on input, signs of injection
    rate          how many begin within a minute
    deadline      from here on everything ends in time
    places        the turns before in the session, then a place among those that run
    (the runtime's own middleware, kernel.extensions)
    settlement    budget and lock before, ledger and answer after (kernel.settlement)
    moderation    of the input, which costs too (kernel.moderation)

Limits come before anything that costs.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from bulkhead_runtime import errors
from bulkhead_runtime.deadlines import cut_off
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
from bulkhead_runtime.kernel.idempotency import Idempotency
from bulkhead_runtime.kernel.moderation import InputModeration
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.kernel.requests import Repeated
from bulkhead_runtime.kernel.settlement import Settlement, Work
from bulkhead_runtime.telemetry import logs
from bulkhead_runtime.telemetry.spans import Attribute, Tracing

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Check = Callable[[Execution], None]
"""Raises a `Problem` for what is not let in."""

_CLIENT_ERRORS: Final = range(400, 500)


@dataclass(frozen=True, slots=True)
class Kernel:
    """Runs work inside the middleware."""

    telemetry: "Telemetry"
    idempotency: Idempotency
    checks: tuple[Check, ...]
    rate: "RateLimit"
    places: "Places"
    extensions: tuple[Middleware, ...]
    settlement: Settlement
    moderation: InputModeration

    async def run(self, execution: Execution, work: Work[Result]) -> Result:
        """Run `work` as the innermost step and return its result.

        Raises what it or a middleware raises; a `Problem` tells the session that exists and what
        was spent.
        """
        once = partial(self.idempotency.once, execution, partial(self._admitted, execution, work))
        try:
            return await self.telemetry.tell(execution, once)
        except errors.Problem as problem:
            refusals.complete(problem, execution)
            raise

    async def _admitted(self, execution: Execution, work: Work[Result]) -> Result:
        for check in self.checks:
            check(execution)
        await self.rate.admit(execution)
        try:
            with cut_off(execution.deadline):
                await self.places.enter(execution)
                entered = time.monotonic()
                try:
                    return await self._extended(execution, work)
                finally:
                    self.places.leave(execution, time.monotonic() - entered)
        except TimeoutError as error:
            raise refusals.timed_out(execution) from error

    async def _extended(self, execution: Execution, work: Work[Result]) -> Result:
        """Run the work inside the middleware that was added to the image."""
        results: list[Result] = []

        async def innermost() -> None:
            moderated = self.moderation.before(execution, work)
            results.append(await self.settlement.run(execution, moderated))

        proceed: Proceed = innermost
        for middleware in reversed(self.extensions):
            proceed = partial(middleware, execution, proceed)
        await proceed()
        if not results:
            raise errors.Problem(
                403, "refused_by_middleware", "A middleware of this runtime refused the request."
            )
        return results[0]


class Telemetry:
    """Traces, counts and logs every execution with its outcome; ids and figures only."""

    def __init__(self, reports: Reports, tracing: Tracing) -> None:
        self._reports = reports
        self._tracing = tracing

    async def tell(self, execution: Execution, proceed: Callable[[], Awaitable[Result]]) -> Result:
        """Run the rest and tell how it ended; what was carried out before is told of already."""
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
        with logs.bound(ids), run as span:
            self._reports.accepted(execution)
            try:
                result = await proceed()
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
            return result

    def _ended(self, execution: Execution, error: BaseException | None) -> None:
        seconds = time.monotonic() - execution.started
        self._reports.ended(execution, error, seconds)
        level = logging.WARNING if execution.outcome == "error" else logging.INFO
        if log.isEnabledFor(level):
            logs.tell(log, level, "Execution ended", _figures(execution, error, seconds))


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
    context, model = execution.context, execution.model or None
    return {
        "gen_ai.agent.version": execution.version or None,
        "gen_ai.conversation.id": context.session_id,
        "gen_ai.provider.name": model and model.partition("/")[0],
        "gen_ai.request.model": model,
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


def authorize(execution: Execution) -> None:
    """Let in who has the scope of the way that was taken."""
    principal = execution.context.principal
    if not principal.may(execution.entry):
        raise errors.Problem(
            403,
            "missing_scope",
            f"This needs the scope `{execution.entry}`, which the key "
            f"{principal.key_name!r} does not have.",
        )


def limit_input(execution: Execution) -> None:
    """Refuse input messages longer than spec.limits.maxInputCharacters."""
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


class RateLimit:
    """Refuses what goes beyond spec.limits.rateLimitPerMinute, over all replicas.

    Where the replicas' common count cannot be had, each admits its share. Health checks neither
    count nor wait: they are few, and a busy organization must not make a good version look bad.
    """

    def __init__(self, window: RateWindow, rates: Rates | None, admission: Admission) -> None:
        self._window = window
        self._rates = rates
        self._admission = admission

    async def admit(self, execution: Execution) -> None:
        """Count an execution; raise a 429 `Problem` for one too many."""
        if execution.context.principal is HEALTH_CHECK:
            return
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


class Places:
    """Lets the turns of one session through one after the other, and so many executions at once."""

    def __init__(self, gate: SessionGate, admission: Admission, executions: Executions) -> None:
        self._gate = gate
        self._admission = admission
        self._executions = executions

    async def enter(self, execution: Execution) -> None:
        """Wait for the turns before, then for one of spec.limits.maxConcurrentAgents places."""
        limits = execution.configuration.limits
        session_id = execution.session_id
        if session_id is not None:
            self._executions.queue_behind(session_id)
            await self._gate.enter(session_id, limits.max_queue_size)
        try:
            await self._admission.enter(limits.max_concurrent_agents, limits.max_queue_size)
        except BaseException:
            self._let_next(session_id)
            raise

    def leave(self, execution: Execution, seconds: float) -> None:
        """Give back what was held for so long."""
        self._admission.leave(seconds)
        self._let_next(execution.session_id)

    def _let_next(self, session_id: str | None) -> None:
        if session_id is not None:
            self._gate.leave(session_id)
