"""Spans of what agents do, after OpenTelemetry's GenAI conventions; free while nobody asks.

    agent.run            one execution                        gen_ai.operation.name invoke_agent
      chat MODEL         one call of a model                  chat
      agent.tool         one call of a tool                   execute_tool

`Tracing` is what the kernel, the models and the tools call. Without an endpoint every span is one
shared object that does nothing, and nothing of OpenTelemetry is imported.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from bulkhead_runtime.telemetry.trace import Trace

MAX_CONTENT_CHARACTERS: Final = 32_768
"""Of one attribute."""

Attribute = str | int | float | bool | tuple[str, ...]
Content = Literal[
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
]
Kind = Literal["internal", "client", "server"]


class Span(Protocol):
    """Something that takes time; ends with its `with` block, failed by what that raises."""

    @property
    def captures_content(self) -> bool:
        """Tell whether content was asked for, so that nobody serializes it in vain."""
        ...

    def set(self, attributes: Mapping[str, Attribute | None]) -> None:
        """Add attributes; those that are None are left out."""
        ...

    def content(self, name: Content, text: str) -> None:
        """Add content, bounded and without known secrets, only where it was asked for."""
        ...

    def failed(self, error_type: str) -> None:
        """Mark the span as failed by a bounded class of error (`error.type`)."""
        ...

    @property
    def traceparent(self) -> str | None:
        """Return what continues the trace downstream, None where nothing is traced."""
        ...


class Tracer(Protocol):
    """Opens spans; the one that is open in this task is the parent."""

    def run(self, trace: Trace, attributes: Mapping[str, Attribute | None]) -> "SpanContext":
        """Open the span of an execution; it carries the ids that `trace` has."""
        ...

    def span(
        self, name: str, kind: Kind, attributes: Mapping[str, Attribute | None]
    ) -> "SpanContext":
        """Open a span below the present one."""
        ...

    def recorded(self) -> str | None:
        """Return the id of this task's trace where it is recorded, None where it is not."""
        ...

    def shutdown(self) -> None:
        """Send what is waiting, within a bounded time."""
        ...


SpanContext = AbstractContextManager[Span]


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where spans go; `headers` may hold credentials of the collector and is never shown."""

    endpoint: str
    headers: tuple[tuple[str, str], ...] = ()
    sampling_ratio: float = 1.0
    capture_content: bool = False
    service_name: str = "bulkhead-runtime"
    organization: str = ""
    runtime_id: str = ""
    version: str = ""

    def __repr__(self) -> str:
        return f"TracingSettings(endpoint={self.endpoint!r})"


class _NoSpan:
    captures_content = False
    traceparent = None

    def set(self, attributes: Mapping[str, Attribute | None]) -> None:
        """Do nothing."""

    def content(self, name: Content, text: str) -> None:
        """Do nothing."""

    def failed(self, error_type: str) -> None:
        """Do nothing."""


_NO_SPAN: Final = _NoSpan()


class _NoSpanContext(AbstractContextManager[Span]):
    def __enter__(self) -> Span:
        return _NO_SPAN

    def __exit__(self, *_: object) -> None:
        return None


_NO_SPAN_CONTEXT: Final = _NoSpanContext()


class Tracing:
    """The tracer that the configuration asks for at this moment."""

    def __init__(self) -> None:
        self._settings: TracingSettings | None = None
        self._tracer: Tracer | None = None
        self._changing = asyncio.Lock()

    @property
    def active(self) -> bool:
        """Tell whether spans go anywhere."""
        return self._tracer is not None

    async def configure(self, settings: TracingSettings | None) -> None:
        """Follow new settings; imports and connections happen beside the event loop."""
        async with self._changing:
            if settings == self._settings:
                return
            former = self._tracer
            self._tracer = await asyncio.to_thread(_open, settings) if settings else None
            self._settings = settings
        if former is not None:
            await asyncio.to_thread(former.shutdown)

    async def aclose(self) -> None:
        """Send what is waiting and stop."""
        await self.configure(None)

    def recorded(self) -> str | None:
        """Return the id of this task's trace where somebody can look at it, None elsewhere."""
        return None if self._tracer is None else self._tracer.recorded()

    def run(
        self, trace: Trace, *, agent: str, attributes: Mapping[str, Attribute | None]
    ) -> SpanContext:
        """Open the span of an execution of an agent, or of a model without one."""
        if self._tracer is None:
            return _NO_SPAN_CONTEXT
        named = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent, **attributes}
        return self._tracer.run(trace, named)

    def model(
        self, model: str, provider: str, attributes: Mapping[str, Attribute | None]
    ) -> SpanContext:
        """Open the span of one call of a model."""
        if self._tracer is None:
            return _NO_SPAN_CONTEXT
        named = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            **attributes,
        }
        return self._tracer.span(f"chat {model}", "client", named)

    def tool(self, tool: str, attributes: Mapping[str, Attribute | None]) -> SpanContext:
        """Open the span of one call of a tool."""
        if self._tracer is None:
            return _NO_SPAN_CONTEXT
        named = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool, **attributes}
        return self._tracer.span("agent.tool", "internal", named)


def _open(settings: TracingSettings) -> Tracer:
    from bulkhead_runtime.telemetry.otel import OpenTelemetryTracer  # noqa: PLC0415 (15 MB)

    return OpenTelemetryTracer(settings)
