"""How long to wait before the next try: exponential, jittered, endless, capped.

The jitter keeps replicas and keys that failed together from coming back together.
"""

import random


class Backoff:
    """Waits of `first`, then twice as long each time, at most `cap` seconds, each within ±25 %."""

    def __init__(self, first: float, cap: float) -> None:
        self._first = first
        self._cap = cap
        self._wait = first

    def next(self) -> float:
        """Return the seconds to wait now."""
        wait = self._wait
        self._wait = min(self._cap, wait * 2)
        return min(self._cap, wait * random.uniform(0.75, 1.25))  # noqa: S311 (spreads load only)

    def reset(self) -> None:
        """Begin again: the last try went well."""
        self._wait = self._first
