"""What is told of calls of tools: events, metrics, spans.

Arguments and results are in none of them but the spans of those who asked for content.
"""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import orjson

from bulkhead_runtime.events.port import Events, happened
from bulkhead_runtime.models.circuit import CircuitState
from bulkhead_runtime.policy.port import Decision
from bulkhead_runtime.telemetry.measurements import VersionMeasurements
from bulkhead_runtime.telemetry.spans import Span, SpanContext, Tracing
from bulkhead_runtime.telemetry.work_metrics import ToolMetrics
from bulkhead_runtime.tools.port import Tool, ToolContext, ToolEnvelope, ToolFailure

_CANCELLED: Final = ToolEnvelope(
    ok=False, error=ToolFailure("cancelled", "The execution was given up.")
)


class ToolReports:
    """Tells those who watch."""

    def __init__(
        self,
        events: Events,
        metrics: ToolMetrics,
        versions: VersionMeasurements,
        tracing: Tracing,
    ) -> None:
        self._events = events
        self._metrics = metrics
        self._versions = versions
        self._tracing = tracing

    def call(
        self, tool: Tool, arguments: Mapping[str, Any], context: ToolContext, rule: str
    ) -> "ReportedCall":
        """Report a call that begins here and lasts as long as the `with` block of what is returned.

        Its `ended` takes the result; a call that is given up has none.
        """
        self._measured(context, denied=False)
        data = {"agent": context.agent, "tool": tool.name, "risk": tool.risk, "rule": rule}
        self._publish("tool.pre_call", context, data)
        span = self._tracing.tool(tool.name, {"bulkhead.tool.source": tool.source})
        return ReportedCall(self, span, tool, arguments, context)

    def denied(self, tool: Tool, context: ToolContext, decision: Decision) -> None:
        """Report a decision that was not to allow; in audit mode the call goes on."""
        data = {
            "agent": context.agent,
            "tool": tool.name,
            "rule": decision.rule,
            "reason": decision.reason,
            "audit": decision.audit,
        }
        self._publish("tool.denied", context, data)
        if not decision.audit:
            self._metrics.denied(tool.name, decision.rule)
            self._measured(context, denied=True)

    def flagged(self, tool: Tool, context: ToolContext, patterns: tuple[str, ...]) -> None:
        """Report that a result holds what looks like orders to an agent."""
        if patterns:
            data = {
                "agent": context.agent,
                "source": f"tool:{tool.name}",
                "patterns": list(patterns),
            }
            self._publish("safety.flagged", context, data)

    def circuit(self, source: str, state: CircuitState) -> None:
        """Report that a source is left alone, or asked again."""
        if state != "half_open":
            name = "tool.circuit_open" if state == "open" else "tool.circuit_closed"
            self._events.publish(happened(name, data={"source": source}))

    def _measured(self, context: ToolContext, *, denied: bool) -> None:
        self._versions.tool_called((context.package, context.version), denied=denied)

    def ended(
        self,
        tool: Tool,
        context: ToolContext,
        span: Span,
        envelope: ToolEnvelope,
        seconds: float,
    ) -> None:
        """Report how a call ended; `ReportedCall` does."""
        code = envelope.error.code if envelope.error else "ok"
        if envelope.error:
            span.failed(code)
        elif span.captures_content:
            span.content("gen_ai.tool.call.result", orjson.dumps(envelope.data).decode())
        self._metrics.called(tool.name, code, seconds)
        data = {
            "agent": context.agent,
            "tool": tool.name,
            "ok": envelope.ok,
            "code": code,
            "seconds": round(seconds, 4),
        }
        self._publish("tool.post_call", context, data)

    def _publish(self, name: str, context: ToolContext, data: Mapping[str, Any]) -> None:
        asked = context.context
        self._events.publish(
            happened(
                name,
                asked.principal.name,
                session_id=asked.session_id,
                trace_id=asked.trace.trace_id,
                run_id=asked.run_id,
                data=data,
            )
        )


class ReportedCall:
    """A call of a tool that is under way."""

    def __init__(
        self,
        reports: ToolReports,
        span: SpanContext,
        tool: Tool,
        arguments: Mapping[str, Any],
        context: ToolContext,
    ) -> None:
        self._reports = reports
        self._span_context = span
        self._tool = tool
        self._arguments = arguments
        self._context = context
        self._span: Span
        self._started: float

    def __enter__(self) -> Self:
        """Open the span."""
        self._span = self._span_context.__enter__()
        if self._span.captures_content:
            arguments = orjson.dumps(self._arguments).decode()
            self._span.content("gen_ai.tool.call.arguments", arguments)
        self._started = time.monotonic()
        return self

    @property
    def traceparent(self) -> str:
        """Return what continues the trace: from the call's span, from the run's where none is."""
        return self._span.traceparent or self._context.context.trace.traceparent

    def ended(self, envelope: ToolEnvelope) -> None:
        """Report the result."""
        seconds = time.monotonic() - self._started
        self._reports.ended(self._tool, self._context, self._span, envelope, seconds)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Report a call that was given up, and close the span."""
        if error is not None:
            self.ended(_CANCELLED)
        self._span_context.__exit__(kind, error, traceback)
