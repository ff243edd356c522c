"""Structured logs: one JSON object per line on standard error.

The standard library's logging with an orjson formatter: structlog imports rich where litellm's
dependencies brought it (0.3 s and 19 MB of every cold start) and doubles the cost of a line
(docs/design/0007). Records carry ids, outcomes and figures; never message content, keys or tokens:
values of mounted secrets are taken out of every line.

    critical  the process ends for a reason that nobody foresaw
    error     somebody must look: a defect of the runtime, or something that stays broken
    warning   something failed or was left out, and the runtime works on
    info      the course of things, refusals of what must not be among them
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any, BinaryIO, Final

import orjson

from bulkhead_runtime.telemetry.redaction import SECRET_VALUES

log = logging.getLogger(__name__)

_BLANK: Final = vars(logging.LogRecord("", 0, "", 0, "", None, None))
_SELDOM_SECONDS: Final = 60.0
_STANDARD: Final = frozenset(_BLANK | {"message": "", "asctime": ""})
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


class _Told(logging.LogRecord):
    """A record of the hot path, which knows its fields and nothing of files, lines and threads.

    Making the library's own takes five times as long: it looks for what no line here tells, and at
    every name in `extra` alone.
    """

    fields: Mapping[str, object]

    def __init__(self, logger: str, level: int, event: str, fields: Mapping[str, object]) -> None:
        vars(self).update(
            _BLANK,
            name=logger,
            msg=event,
            levelno=level,
            levelname=logging.getLevelName(level),
            created=time.time(),
            fields=fields,
        )


def tell(logger: logging.Logger, level: int, event: str, fields: Mapping[str, object]) -> None:
    """Log an event of the hot path with all its fields at once; the level was looked at before."""
    logger.handle(_Told(logger.name, level, event, fields))


class JsonFormatter(logging.Formatter):
    """Renders a record with the ids of its task, its own fields and the process's."""

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
        line |= record.fields if isinstance(record, _Told) else _extra(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return SECRET_VALUES.redact(_dumped(line))


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _dumped(line: dict[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z).decode()
    except TypeError:
        # Halves of surrogate pairs and integers beyond 64 bits, as a name of a file may be.
        return json.dumps(line, default=str)


class _Lines(logging.Handler):
    """Writes each record as a line, at once; without the layers that text streams put on bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; what cannot be written is for the library to complain about."""
        try:
            self._stream.write(f"{self.format(record)}\n".encode())
            self._stream.flush()
        except Exception:  # noqa: BLE001 (a line must not end the work that it tells of)
            self.handleError(record)


class Seldom(logging.Filter):
    """Lets one record of up to `level` through in a while, with the number of those held back.

    For loggers of libraries that have a line for everything that others do wrong.
    """

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level = level
        self._next = 0.0
        self._held_back = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be written."""
        if record.levelno > self._level:
            return True
        now = time.monotonic()
        if now < self._next:
            self._held_back += 1
            return False
        record.held_back, self._held_back = self._held_back, 0
        self._next = now + _SELDOM_SECONDS
        return True


def configure(level: str, **fixed: str) -> None:
    """Send every log record of the process to standard error as JSON, with `fixed` in each line.

    Warnings of libraries and what ends the process or a thread are such records, too.
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # No line tells where in the code it was written, and looking costs more than formatting; the
    # library's documentation names this switch ("Optimization" in its how-to).
    logging._srcfile = None  # noqa: SLF001 (see above)
    handler = _Lines(sys.stderr.buffer)
    handler.setFormatter(JsonFormatter(**fixed))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").filters = [Seldom(logging.WARNING)]
    logging.captureWarnings(capture=True)
    sys.excepthook = _process_ended
    threading.excepthook = _thread_ended


def _process_ended(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    log.critical("Process ends", exc_info=(kind, error, trace))


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None:
        log.error("Thread ended", exc_info=ended.exc_value)
