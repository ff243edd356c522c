"""What the configuration and the mounted secrets say about traces and error reports."""

import logging
from pathlib import Path
from typing import Final

from bulkhead_api.v1alpha1.telemetry import Telemetry
from bulkhead_runtime.telemetry.spans import TracingSettings

log = logging.getLogger(__name__)

_TRACES_PATH: Final = "/v1/traces"
_MAX_HEADERS: Final = 32


def tracing_settings(
    telemetry: Telemetry, headers_file: Path, *, organization: str, runtime_id: str, version: str
) -> TracingSettings | None:
    """Return where spans go, None where no collector is configured.

    A collector whose headers are configured and not mounted yet gets nothing until they are: it
    would refuse every batch.
    """
    tracing = telemetry.tracing
    if tracing is None:
        return None
    headers: tuple[tuple[str, str], ...] = ()
    if tracing.headers_ref is not None:
        text = mounted(headers_file)
        if text is None:
            log.warning("No spans are sent: the Secret with the collector's headers is missing")
            return None
        headers = _headers(text)
    return TracingSettings(
        endpoint=tracing.endpoint.rstrip("/") + _TRACES_PATH,
        headers=headers,
        sampling_ratio=float(tracing.sampling_ratio),
        capture_content=tracing.capture_content,
        service_name=tracing.service_name or "bulkhead-runtime",
        organization=organization,
        runtime_id=runtime_id,
        version=version,
    )


def mounted(file: Path) -> str | None:
    """Return a mounted secret's text, None where it is missing or empty."""
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _headers(text: str) -> tuple[tuple[str, str], ...]:
    """Return `Name: value` lines as pairs; a line that is none is left out."""
    pairs = (line.partition(":") for line in text.splitlines()[:_MAX_HEADERS])
    return tuple(
        (name.strip().lower(), value.strip())
        for name, colon, value in pairs
        if colon and name.strip() and value.strip()
    )
