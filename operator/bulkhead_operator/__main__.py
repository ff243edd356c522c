"""`python -m bulkhead_operator`: reads the environment, then runs until SIGTERM.

`python -m bulkhead_operator package` is the packaging command, which needs neither.
"""

# ruff: noqa: E402 (signals are heard before anything else is imported)

import signal
import sys

# The first process of a container is not ended by a signal that it has no handler for: a pod that
# is deleted while it starts would stay until its grace period is over.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

import gc
from typing import Final

import uvloop
from pydantic import ValidationError

from bulkhead_operator import logs
from bulkhead_operator.cluster.credentials import CredentialsError, load
from bulkhead_operator.main import Operator
from bulkhead_operator.reconcile.controllers import controllers
from bulkhead_operator.settings import Settings

YOUNG_OBJECTS: Final = 20_000
"""New containers between two collections of them, some megabytes at most.

A body of JSON is hundreds of containers, which are freed by their count and seldom lie in cycles.
At Python's own threshold, tens of times lower, the search for cycles took a tenth of the CPU time.
"""


def _collect_seldom() -> None:
    """Search for cycles seldom, and never in what was imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


async def _run(settings: Settings) -> None:
    await Operator(settings, load(), controllers).run()


def main() -> None:
    """Run the operator; ends with a message when the environment does not suffice."""
    if sys.argv[1:2] == ["package"]:
        from bulkhead_operator.packaging import command  # noqa: PLC0415 (yaml: not the operator's)

        sys.exit(command.run(sys.argv[2:]))
    try:
        settings = Settings.from_environment()
    except ValidationError as error:
        sys.exit(f"bulkhead-operator: the environment is not valid: {error}")
    logs.configure(settings.log_level)
    _collect_seldom()
    try:
        uvloop.run(_run(settings))
    except CredentialsError as error:
        sys.exit(f"bulkhead-operator: {error}")


if __name__ == "__main__":
    main()
