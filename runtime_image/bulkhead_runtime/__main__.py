"""`python -m bulkhead_runtime`: one process, one organization."""

import sys

import uvloop

from bulkhead_runtime.server import serve
from bulkhead_runtime.settings import Settings, SettingsError
from bulkhead_runtime.telemetry import logs


def main() -> int:
    """Serve until told to stop; return the exit status."""
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.configure(
        settings.log_level,
        organization=settings.organization,
        runtime_id=settings.runtime_id,
    )
    uvloop.run(serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
