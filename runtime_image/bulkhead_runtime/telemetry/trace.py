"""Trace context after W3C `traceparent`, so that one id follows a request through every part."""

from msgspec import Struct

from bulkhead_runtime.identifiers import random_hex

_VERSION = "00"
_PARTS = 4
_HEX = frozenset("0123456789abcdef")
_KNOWN_FLAGS = 0b11
"""Sampled, and that the trace's id is random; what other bits mean is not ours to say on."""


class Trace(Struct, frozen=True):
    """The ids of this request's span; `trace_id` has 32 hexadecimal digits, `span_id` 16.

    `parent_id` is the caller's span where the caller named one.
    """

    trace_id: str
    span_id: str
    flags: str
    parent_id: str | None = None

    @property
    def traceparent(self) -> str:
        """Return the header value that names this span."""
        return f"{_VERSION}-{self.trace_id}-{self.span_id}-{self.flags}"


def continue_trace(header: bytes | None) -> Trace:
    """Return a new span of the trace that a client names, of a new trace where it names none."""
    random = random_hex(24)
    span_id = random[32:]
    parsed = _parse(header) if header else None
    if parsed is None:
        return Trace(random[:32], span_id, "01")
    trace_id, parent_id, flags = parsed
    return Trace(trace_id, span_id, flags, parent_id)


def _parse(header: bytes) -> tuple[str, str, str] | None:
    parts = header.decode("ascii", "replace").strip().split("-")
    if len(parts) < _PARTS or parts[0] == "ff":
        return None
    version, trace_id, parent, flags = parts[:_PARTS]
    lengths = (len(version), len(trace_id), len(parent), len(flags))
    if lengths != (2, 32, 16, 2) or (version == _VERSION and len(parts) != _PARTS):
        return None
    if not _HEX.issuperset(version + trace_id + parent + flags):
        return None
    if not trace_id.strip("0") or not parent.strip("0"):
        return None
    return trace_id, parent, f"{int(flags, 16) & _KNOWN_FLAGS:02x}"
