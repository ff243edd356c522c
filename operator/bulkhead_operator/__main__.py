"""`python -m bulkhead_operator`: reads the environment, then runs until SIGTERM."""

import sys

import uvloop
from pydantic import ValidationError

from bulkhead_operator import logs
from bulkhead_operator.cluster.credentials import CredentialsError, load
from bulkhead_operator.main import Operator
from bulkhead_operator.reconcile.controllers import controllers
from bulkhead_operator.settings import Settings


async def _run(settings: Settings) -> None:
    await Operator(settings, load(), controllers).run()


def main() -> None:
    """Run the operator; ends with a message when the environment does not suffice."""
    try:
        settings = Settings.from_environment()
    except ValidationError as error:
        sys.exit(f"bulkhead-operator: the environment is not valid: {error}")
    logs.configure(settings.log_level)
    try:
        uvloop.run(_run(settings))
    except CredentialsError as error:
        sys.exit(f"bulkhead-operator: {error}")


if __name__ == "__main__":
    main()
