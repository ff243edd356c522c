"""When a call that has not begun is tried again at the same provider, and after how long."""

import random
from typing import Final

from bulkhead_runtime.models.errors import ModelError

FIRST_WAIT_SECONDS: Final = 0.25
LONGEST_WAIT_SECONDS: Final = 5.0
LONGEST_WAIT_BEFORE_ANOTHER_SECONDS: Final = 1.0
"""Where another model could answer, nobody waits long for this one."""

_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERRORS: Final = range(500, 600)
"""529 among them, by which Anthropic says that it is overloaded."""


def wait_before_retry(
    error: ModelError, *, attempt: int, seconds_left: float, another: bool
) -> float | None:
    """Return the seconds to wait before attempt number `attempt` + 1, None to give up.

    Only for calls from which nothing has arrived and nothing can have been spent: a timeout is
    never tried again, because the first call may still be paid for. `another` tells whether
    another model of the plan could be asked instead.
    """
    if error.status is None:
        transient = error.kind == "unavailable"
    else:
        transient = error.status == _TOO_MANY_REQUESTS or error.status in _SERVER_ERRORS
    if not transient:
        return None
    wait = FIRST_WAIT_SECONDS * 2**attempt * random.uniform(0.5, 1)  # noqa: S311
    wait = max(wait, error.retry_after or 0.0)
    longest = LONGEST_WAIT_BEFORE_ANOTHER_SECONDS if another else LONGEST_WAIT_SECONDS
    return wait if wait <= longest and wait < seconds_left else None
