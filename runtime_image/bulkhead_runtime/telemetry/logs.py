"""Structured logs: one JSON object per line on standard error.

The standard library's logging with an orjson formatter: structlog imports rich where litellm's
dependencies brought it (0.3 s and 19 MB of every cold start) and doubles the cost of a line
(docs/design/0007). Records carry ids, outcomes and figures; never message content, keys or tokens:
values of mounted secrets are taken out of every line.
"""

import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import orjson

from bulkhead_runtime.telemetry.redaction import SECRET_VALUES

_STANDARD = frozenset(
    vars(logging.LogRecord("", 0, "", 0, "", None, None)) | {"message": "", "asctime": ""}
)
_IDS: ContextVar[Mapping[str, str | None]] = ContextVar("ids", default=MappingProxyType({}))


class bound:  # noqa: N801 (reads like the functions of contextlib)
    """Puts these ids into every line that is logged inside, in tasks that are begun there too."""

    __slots__ = ("_ids", "_token")

    def __init__(self, ids: Mapping[str, str | None]) -> None:
        self._ids = ids
        self._token: Token[Mapping[str, str | None]]

    def __enter__(self) -> None:
        """Add the ids to those that are bound outside."""
        outside = _IDS.get()
        self._token = _IDS.set({**outside, **self._ids} if outside else self._ids)

    def __exit__(self, *_: object) -> None:
        """Leave them out again."""
        _IDS.reset(self._token)


class JsonFormatter(logging.Formatter):
    """Renders a record with the ids of its task, its `extra` fields and the process's own."""

    def __init__(self, **fixed: str) -> None:
        super().__init__()
        self._fixed = fixed

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **self._fixed,
            **{name: value for name, value in _IDS.get().items() if value is not None},
        }
        extras = vars(record).items()
        line.update((name, value) for name, value in extras if name not in _STANDARD)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z).decode()
        return SECRET_VALUES.redact(text)


def configure(level: str, *, organization: str, runtime_id: str) -> None:
    """Send every log record of the process to standard error as JSON."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # No line tells where in the code it was written, and looking costs more than formatting; the
    # library's documentation names this switch ("Optimization" in its how-to).
    logging._srcfile = None  # type: ignore[attr-defined]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(organization=organization, runtime_id=runtime_id))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
