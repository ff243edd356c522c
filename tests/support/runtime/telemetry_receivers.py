"""The two places that a runtime reports to, as they behave on the wire.

CollectorServer   an OTLP/HTTP collector: keeps spans, can be slow or refuse
SentryServer      Sentry's ingestion: keeps the events of envelopes
"""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class _Received:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.delay_seconds = 0.0


class _Handler(BaseHTTPRequestHandler):
    received: ClassVar[_Received]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        time.sleep(self.received.delay_seconds)
        self.received.headers.append(dict(self.headers))
        self.received.bodies.append(body)
        self.send_response(self.received.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        return


class CollectorServer:
    """What an OTLP/HTTP collector took."""

    def __init__(self, url: str, received: _Received) -> None:
        self.endpoint = f"{url}/v1/traces"
        self._received = received

    def refuse(self, status: int) -> None:
        """Answer with an error from now on."""
        self._received.status = status

    def delay(self, seconds: float) -> None:
        """Answer late from now on."""
        self._received.delay_seconds = seconds

    @property
    def headers(self) -> list[dict[str, str]]:
        """Return the headers of every request."""
        return self._received.headers

    @property
    def raw(self) -> bytes:
        """Return everything that was sent."""
        return b"".join(self._received.bodies)

    def spans(self) -> list[Span]:
        """Return every span."""
        found: list[Span] = []
        for body in self._received.bodies:
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    found.extend(scope.spans)
        return found

    def resources(self) -> list[dict[str, Any]]:
        """Return the attributes of every resource."""
        return [
            {item.key: _value(item.value) for item in resource.resource.attributes}
            for body in self._received.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        ]


class SentryServer:
    """What Sentry's ingestion took."""

    def __init__(self, url: str, received: _Received) -> None:
        self.dsn = f"{url.replace('http://', 'http://publickey0123@')}/1"
        self._received = received

    @property
    def raw(self) -> bytes:
        """Return everything that was sent."""
        return b"".join(self._received.bodies)

    def events(self) -> list[dict[str, Any]]:
        """Return every event."""
        found = []
        for body in self._received.bodies:
            lines = body.split(b"\n")
            for header, payload in zip(lines[1::2], lines[2::2], strict=False):
                if header and json.loads(header).get("type") == "event":
                    found.append(json.loads(payload))
        return found


def attributes(span: Span) -> dict[str, Any]:
    """Return a span's attributes as Python values."""
    return {item.key: _value(item.value) for item in span.attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(item) for item in value.array_value.values)
    return getattr(value, kind) if kind else None


@contextmanager
def _serving() -> Iterator[tuple[str, _Received]]:
    received = _Received()
    handler = type("Handler", (_Handler,), {"received": received})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", received
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def running_collector() -> Iterator[CollectorServer]:
    """Run a collector."""
    with _serving() as (url, received):
        yield CollectorServer(url, received)


@contextmanager
def running_sentry() -> Iterator[SentryServer]:
    """Run Sentry's ingestion."""
    with _serving() as (url, received):
        yield SentryServer(url, received)
