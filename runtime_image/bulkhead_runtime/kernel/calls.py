"""The one way in which a model is called: planned, reserved, traced, asked, counted.

The output is cut to what the budgets leave, never raised; what every model that was asked took is
counted however the call ends.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

from bulkhead_runtime.identifiers import new_id
from bulkhead_runtime.kernel.accounts import price_must_be_known, price_unknown
from bulkhead_runtime.kernel.bounds import CallNeed, Wanted
from bulkhead_runtime.kernel.captured import Captured
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import (
    ByteCall,
    ByteRequest,
    CacheScope,
    CallBound,
    Finished,
    ModelCall,
    ModelRequest,
    Part,
    Router,
    Spent,
    Switch,
    TextDelta,
    Usage,
    Write,
)
from bulkhead_runtime.store.spending import LedgerLine, LineType
from bulkhead_runtime.telemetry.spans import Span, SpanContext, Tracing
from bulkhead_runtime.tools.port import Tool, ToolContext

Take = Callable[[Part], Awaitable[None]]
Request = ModelRequest | ByteRequest


class Planned(Struct, frozen=True):
    """A call that may be made: the models to ask in order, and what it needs."""

    plan: tuple[str, ...]
    need: CallNeed


class ModelCalls:
    """Calls models for executions."""

    def __init__(self, router: Router, tracing: Tracing, reports: Reports) -> None:
        self._router = router
        self._tracing = tracing
        self.reports = reports

    def planned(self, execution: Execution, request: Request) -> Planned:
        """Return whether and how a request may be called; nothing is sent or reserved.

        Raises `ModelError` for a model that may not be used, and a 402 `Problem` for one without
        a price while a budget bounds cost.
        """
        try:
            plan = self._router.plan(request.model, execution.definition, execution.context)
        except ModelError as error:
            if error.kind == "denied":
                self.reports.model_denied(execution, error)
            raise
        return Planned(plan, self._need(execution, self._router.bounds(request), plan[0]))

    async def stream(
        self,
        execution: Execution,
        request: ModelRequest,
        take: Take,
        *,
        planned: Planned | None = None,
        kind: LineType = "model",
        rounds: int = 1,
        cache: CacheScope | None = None,
    ) -> str:
        """Hand every part of the answer to `take`; return the PROVIDER/MODEL that answered.

        `planned` is what was planned for this very request before, `rounds` how many such calls
        may follow. Raises `ModelError` when no model answers.
        """
        planned = planned or self.planned(execution, request)
        granted = await execution.purse.afford(Wanted(planned.need), rounds=rounds)
        with _Count(self, execution, request, kind, self._span(planned, granted)) as count:
            call = self._router.call(
                replace(request, **count.bounds(granted)), planned.plan, count.switched, cache
            )
            count.follow(call)
            try:
                async with aclosing(call.stream()) as parts:
                    async for part in parts:
                        count.part(part)
                        await take(part)
            finally:
                if cache is not None:
                    self.reports.cached(hit=any(one.cached for one in call.spent))
            return call.model

    async def bytes(
        self, execution: Execution, request: ByteRequest, write: Write, *, planned: Planned
    ) -> None:
        """Write the answer's frames as they come; raise `ModelError` when no model answers."""
        granted = await execution.purse.afford(Wanted(planned.need))
        with _Count(self, execution, request, "model", self._span(planned, granted)) as count:
            bounded = replace(request, **count.bounds(granted))
            call = self._router.byte_call(bounded, planned.plan, count.switched)
            count.follow(call)

            async def counted(frames: bytes) -> None:
                count.part(frames)
                await write(frames)

            await call.run(counted)

    def _span(self, planned: Planned, granted: Wanted) -> SpanContext:
        model = planned.plan[0]
        attributes = {"gen_ai.request.max_tokens": _output(granted)}
        return self._tracing.model(model, model.partition("/")[0], attributes)

    async def switch(self, execution: Execution, switch: Switch) -> int:
        """Reserve for the model that is asked instead; return the output it may make."""
        self.reports.fell_back(execution, switch)
        need = self._need(execution, switch.bound, switch.model)
        return _output(await execution.purse.afford(Wanted(need)))

    def _need(self, execution: Execution, bound: CallBound, model: str) -> CallNeed:
        if bound.cost is None and price_must_be_known(
            execution.configuration.source.budgets, execution.definition, execution.purse.accounts
        ):
            raise price_unknown(model)
        return CallNeed.of(bound)


class _Count:
    """Counts one call: what each model that was asked took, once, and how long it was.

    The call is made inside of it, and counted when it has ended, however it ended.
    """

    __slots__ = (
        "_answers",
        "_call",
        "_calls",
        "_captured",
        "_execution",
        "_kind",
        "_request",
        "_span",
        "_span_context",
        "_started",
        "_told",
    )

    def __init__(
        self,
        calls: ModelCalls,
        execution: Execution,
        request: Request,
        kind: LineType,
        span_context: SpanContext,
    ) -> None:
        self._calls = calls
        self._execution = execution
        self._request = request
        self._kind = kind
        self._span_context = span_context
        self._span: Span
        self._captured: Captured | None = None
        self._call: ModelCall | ByteCall | None = None
        self._started = time.monotonic()
        self._answers = False
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        """Open the span."""
        self._span = self._span_context.__enter__()
        if self._span.captures_content:
            self._captured = Captured(self._span, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Count the rest, then close the span."""
        self._ended("ok" if error is None else getattr(error, "kind", "ended"))
        self._call = None  # which knows this object: nothing of a turn waits for the collector
        if self._captured is not None:
            self._captured.ended()
        if error is not None:
            self._span.failed(getattr(error, "code", None) or type(error).__name__)
        self._span_context.__exit__(kind, error, trace)

    def bounds(self, granted: Wanted) -> Mapping[str, Any]:
        """Return what bounds the request."""
        own = self._execution.context.trace.traceparent
        return {
            "max_output_tokens": _output(granted),
            "deadline": self._execution.deadline,
            "traceparent": self._span.traceparent or own,
        }

    def follow(self, call: ModelCall | ByteCall) -> None:
        """Count this call."""
        self._call = call

    def part(self, part: Part | bytes) -> None:
        """See a part of the answer, or frames of it."""
        if not self._answers:
            self._answers = True
            model = self._call.model if self._call is not None else self._request.model
            self._calls.reports.first_part(model, time.monotonic() - self._started)
        if not self._execution.spoken and isinstance(part, bytes | TextDelta):
            self._execution.spoken = True
            self._calls.reports.first_text(self._execution)
        if isinstance(part, Finished):
            self._span.set({"gen_ai.response.finish_reasons": (part.reason,)})
        if self._captured is not None:
            self._captured.said(part)

    async def switched(self, switch: Switch) -> int:
        """Count the model that failed and reserve for the next."""
        if switch.spent is not None:
            self._told.add(switch.failed)
            self._count(Spent(switch.failed, switch.spent))
        return await self._calls.switch(self._execution, switch)

    def _ended(self, outcome: str) -> None:
        if self._call is None:
            return
        self._calls.reports.model_called(
            self._call.model, outcome, time.monotonic() - self._started
        )
        for spent in self._call.spent:
            if spent.model not in self._told:
                self._count(spent)
                self._span.set(
                    {
                        "gen_ai.response.model": spent.model,
                        "gen_ai.usage.input_tokens": spent.usage.input_tokens,
                        "gen_ai.usage.output_tokens": spent.usage.output_tokens,
                    }
                )

    def _count(self, spent: Spent) -> None:
        self._execution.usage.add(spent.usage)
        if not spent.cached:
            self._calls.reports.model_used(spent.model, spent.usage)
        kind: LineType = "cache" if spent.cached else self._kind
        line = ledger_line(self._execution, kind, spent.model, spent.usage)
        self._execution.purse.spend(line, turns=0 if spent.cached else 1)


def tool_context(execution: Execution) -> ToolContext:
    """Return for whom tools run; each call that policy lets through is counted."""

    async def admit(tool: Tool) -> None:
        line = ledger_line(execution, "tool", "", Usage(0, 0, Decimal(0)), tool=tool.name)
        execution.purse.spend(line, tool_calls=1)

    return ToolContext(
        execution.context, execution.agent, execution.package, execution.version, admit
    )


def ledger_line(
    execution: Execution, kind: LineType, model: str, usage: Usage, tool: str | None = None
) -> LedgerLine:
    """Return the ledger's line of one use by an execution."""
    context = execution.context
    return LedgerLine(
        id=new_id("use"),
        type=kind,
        at=time.time_ns() // 1_000_000,
        principal=context.principal.name,
        agent=execution.agent,
        package=execution.package,
        version=execution.version,
        model=model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost=usage.cost,
        session_id=context.session_id,
        job_id=context.job_id,
        run_id=context.run_id,
        tool=tool,
    )


def _output(granted: Wanted) -> int:
    assert granted.call is not None
    return granted.call.output_tokens
