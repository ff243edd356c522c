"""One JSON line per log entry, ours and the libraries' alike, with the ids of what is worked on.

Libraries are kept at WARNING: below it kopf writes whole bodies. Values are cut to a bounded
length, and nothing that is named like a secret is written.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import orjson
import structlog

LONGEST_VALUE: Final = 4000
_SECRET_NAMES: Final = ("token", "secret", "password", "authorization", "api_key", "private_key")


def configure(level: str) -> None:
    """Send all logs to standard error from `level` on."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        discreet,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("bulkhead_operator").setLevel(level)
    # At each start it warns that it does not get the process's signals, as is meant.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def discreet(
    _logger: Any, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Bound every value, and hide those whose name says that they are secret."""
    for name, value in entry.items():
        if any(word in name.lower() for word in _SECRET_NAMES):
            entry[name] = "(hidden)"
        elif isinstance(value, str) and len(value) > LONGEST_VALUE:
            entry[name] = value[:LONGEST_VALUE] + "..."
    return entry


def _json(entry: Any, default: Any, **_: Any) -> str:
    return orjson.dumps(entry, default=default).decode()
