"""`python -m bulkhead_runtime`: one process, one organization."""

# ruff: noqa: E402 (signals are heard before anything else is imported)

import signal
import sys

# The first process of a container is not ended by a signal that it has no handler for: a pod that
# is deleted while it starts would stay until its grace period is over.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

import logging

import uvloop

from bulkhead_runtime.errors import Problem, StartError
from bulkhead_runtime.server import serve
from bulkhead_runtime.settings import Settings, SettingsError
from bulkhead_runtime.telemetry import logs

log = logging.getLogger(__name__)


def main() -> int:
    """Serve until told to stop; return the exit status."""
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        logs.configure("INFO")
        log.error("Cannot serve", extra={"reason": str(error)})  # noqa: TRY400 (no fault of ours)
        return 2
    logs.configure(
        settings.log_level,
        organization=settings.organization,
        runtime_id=settings.runtime_id,
    )
    try:
        uvloop.run(serve(settings))
    except (StartError, Problem) as error:
        log.error("Cannot serve", extra={"reason": str(error)})  # noqa: TRY400 (no fault of ours)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
