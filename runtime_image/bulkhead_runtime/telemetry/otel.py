"""The OpenTelemetry side of `telemetry.spans`; imported only once an endpoint is configured.

Attributes follow the GenAI semantic conventions (agent and inference spans, status Development).
Spans leave in batches over OTLP/HTTP from a thread of the SDK; its queue is bounded, so a
collector that is slow or away costs spans and never a turn. The SDK says so in the log, and here is
seen to it that it does so seldom.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Final

from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from bulkhead_runtime.telemetry.logs import Seldom
from bulkhead_runtime.telemetry.redaction import SECRET_VALUES
from bulkhead_runtime.telemetry.spans import (
    MAX_CONTENT_CHARACTERS,
    Attribute,
    Content,
    Kind,
    Span,
    TracingSettings,
)
from bulkhead_runtime.telemetry.trace import Trace

_QUEUED_SPANS: Final = 4_096
_BATCH_SPANS: Final = 512
"""Requests follow each other, so a collector that answers in 100 ms takes 5,000 spans a second."""

_EXPORT_SECONDS: Final = 5
_DRAIN_SECONDS: Final = 2.0
_SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.42.0"
_KINDS: Final[Mapping[Kind, SpanKind]] = {
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
    "server": SpanKind.SERVER,
}
_REQUEST: ContextVar[Trace | None] = ContextVar("request", default=None)


class _RequestIds(IdGenerator):
    """Gives an execution's span the ids that its answer and its log lines carry."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        request = _REQUEST.get()
        return int(request.span_id, 16) if request else self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        request = _REQUEST.get()
        return int(request.trace_id, 16) if request else self._random.generate_trace_id()


def _quieten() -> None:
    """Leave of the SDK's log that spans are lost and why; it has a line for every batch."""
    logging.getLogger("opentelemetry").setLevel(logging.WARNING)
    exporter = logging.getLogger(OTLPSpanExporter.__module__)
    exporter.setLevel(logging.ERROR)
    exporter.filters = [Seldom(logging.ERROR)]


class OpenTelemetryTracer:
    """Opens spans of one configuration."""

    def __init__(self, settings: TracingSettings) -> None:
        _quieten()
        resource = Resource.create(
            {
                "service.name": settings.service_name,
                "service.version": settings.version,
                "service.instance.id": settings.runtime_id,
                "bulkhead.organization": settings.organization,
            },
            schema_url=_SCHEMA_URL,
        )
        self._exporter = OTLPSpanExporter(
            endpoint=settings.endpoint, headers=dict(settings.headers), timeout=_EXPORT_SECONDS
        )
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sampling_ratio)),
            resource=resource,
            id_generator=_RequestIds(),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter, max_queue_size=_QUEUED_SPANS, max_export_batch_size=_BATCH_SPANS
            )
        )
        self._tracer = self._provider.get_tracer("bulkhead_runtime", settings.version)
        self._capture = settings.capture_content

    def run(
        self, trace: Trace, attributes: Mapping[str, Attribute | None]
    ) -> AbstractContextManager[Span]:
        """Open the span of an execution; it carries the ids that `trace` has."""
        return self._opened("agent.run", "internal", attributes, trace)

    def span(
        self, name: str, kind: Kind, attributes: Mapping[str, Attribute | None]
    ) -> AbstractContextManager[Span]:
        """Open a span below the present one."""
        return self._opened(name, kind, attributes, None)

    def recorded(self) -> str | None:
        """Return the id of this task's trace where it is recorded, None where it is not."""
        context = otel.get_current_span().get_span_context()
        return f"{context.trace_id:032x}" if context.trace_flags.sampled else None

    def shutdown(self) -> None:
        """Send what is waiting, within a bounded time: an exporter that was shut down gives up."""
        enough = threading.Timer(_DRAIN_SECONDS, self._exporter.shutdown)
        enough.start()
        self._provider.shutdown()
        enough.cancel()

    @contextmanager
    def _opened(
        self,
        name: str,
        kind: Kind,
        attributes: Mapping[str, Attribute | None],
        request: Trace | None,
    ) -> Iterator[Span]:
        token = _REQUEST.set(request)
        span = self._tracer.start_span(
            name,
            context=_parent(request) if request else None,
            kind=_KINDS[kind],
            attributes=_present(attributes),
        )
        _REQUEST.reset(token)
        # Exceptions are told as a bounded class: their texts may hold what nobody asked to keep.
        with otel.use_span(
            span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            opened = _OpenTelemetrySpan(span, capture=self._capture)
            try:
                yield opened
            except BaseException as error:
                opened.failed(getattr(error, "code", None) or type(error).__name__)
                raise


class _OpenTelemetrySpan:
    def __init__(self, span: otel.Span, *, capture: bool) -> None:
        self._span = span
        self._failed = False
        self.captures_content = capture and span.is_recording()

    def set(self, attributes: Mapping[str, Attribute | None]) -> None:
        """Add attributes; those that are None are left out."""
        self._span.set_attributes(_present(attributes))

    def content(self, name: Content, text: str) -> None:
        """Add content, bounded and without known secrets, only where it was asked for."""
        if self.captures_content:
            self._span.set_attribute(name, SECRET_VALUES.redact(text)[:MAX_CONTENT_CHARACTERS])

    def failed(self, error_type: str) -> None:
        """Mark the span as failed; the first and innermost class of error stays."""
        if self._failed:
            return
        self._failed = True
        self._span.set_status(Status(StatusCode.ERROR))
        self._span.set_attribute("error.type", error_type)
        self._span.add_event("exception", {"exception.type": error_type})

    @property
    def traceparent(self) -> str:
        """Return what continues the trace downstream."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _parent(request: Trace) -> Context:
    """Return the caller's span as parent, none where the trace begins here."""
    if request.parent_id is None:
        return Context()
    remote = SpanContext(
        int(request.trace_id, 16),
        int(request.parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(request.flags, 16)),
    )
    return otel.set_span_in_context(NonRecordingSpan(remote), Context())


def _present(attributes: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    return {name: value for name, value in attributes.items() if value is not None}
