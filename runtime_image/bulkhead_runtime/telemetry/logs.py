"""Structured logs: one JSON object per line on standard error.

The standard library's logging with an orjson formatter, because importing structlog pulls in rich
where litellm's dependencies brought it, a third of a second that every cold start would pay.
Records carry ids, outcomes and figures; never message content, keys or tokens.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

_STANDARD = frozenset(
    vars(logging.LogRecord("", 0, "", 0, "", None, None)) | {"message": "", "asctime": ""}
)


class JsonFormatter(logging.Formatter):
    """Renders a record with its `extra` fields and the process's fixed ones."""

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
        }
        extras = vars(record).items()
        line.update((name, value) for name, value in extras if name not in _STANDARD)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z).decode()


def configure(level: str, *, organization: str, runtime_id: str) -> None:
    """Send every log record of the process to standard error as JSON."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(organization=organization, runtime_id=runtime_id))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
