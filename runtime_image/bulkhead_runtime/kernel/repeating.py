"""After how long a turn asks its model again, when every model of the plan has failed.

Providers are tried again within a call, quickly and only where nothing can have been spent. This
is the author's wish for more patience: each repetition is a call of its own, reserved and counted.
"""

import random
from typing import Final

from bulkhead_runtime.models.errors import ModelError, ModelErrorKind

FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 30.0

_PASSING: Final[frozenset[ModelErrorKind]] = frozenset(
    {"rate_limited", "timeout", "unavailable", "garbage"}
)


def wait_before_repeat(error: ModelError, made: int, seconds_left: float) -> float | None:
    """Return the seconds to wait before repetition number `made` + 1, None to give up."""
    if error.kind not in _PASSING:
        return None
    wait = FIRST_WAIT_SECONDS * 2**made * random.uniform(0.5, 1)  # noqa: S311 (no secret)
    wait = max(wait, error.retry_after or 0.0)
    return wait if wait <= LONGEST_WAIT_SECONDS and wait < seconds_left else None
