"""A provider's circuit: after failures in a row nobody asks for a while, then one call tries.

Pure: times of `time.monotonic()` come from the caller. Own code, because the kept libraries for
asyncio either are abandoned or let every waiting call probe at once.
"""

from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

CircuitState = Literal["closed", "open", "half_open"]

PROBE_SECONDS: Final = 1.0
"""How long a caller is told to wait while another one's probe is under way."""


class Permit(Struct, frozen=True):
    """Lets one call through; its failure counts only in the period in which it began."""

    period: int
    probe: bool


class Circuit:
    """Counts failures in a row and decides who may ask.

    `changed` is told every new state.
    """

    def __init__(
        self, failures: int, open_seconds: float, changed: Callable[[CircuitState], None]
    ) -> None:
        self.failures = failures
        self.open_seconds = open_seconds
        self._changed = changed
        self._state: CircuitState = "closed"
        self._period = 0
        self._failed = 0
        self._until = 0.0
        self._probing = False

    def wait(self, now: float) -> float:
        """Return the seconds until a call may be let through, 0 when it may be now."""
        if self._state == "closed":
            return 0.0
        if self._probing:
            return PROBE_SECONDS
        return max(0.0, self._until - now)

    def admit(self, now: float) -> Permit | None:
        """Let a call through, or not; every permit must come back by one of the three reports."""
        if self.wait(now) > 0:
            return None
        if self._state == "closed":
            return Permit(self._period, probe=False)
        self._probing = True
        self._become("half_open")
        return Permit(self._period, probe=True)

    def succeeded(self, permit: Permit) -> None:
        """Note that the provider answered, were it with a refusal of the request."""
        self._failed = 0
        if permit.probe:
            self._probing = False
            self._period += 1
            self._become("closed")

    def failed(self, permit: Permit, now: float, retry_after: float | None) -> None:
        """Note a failure; `retry_after` are the seconds that the provider asks to be left alone."""
        if permit.period != self._period:
            return
        self._failed += 1
        if permit.probe or self._failed >= self.failures:
            self._probing = False
            self._failed = 0
            self._period += 1
            self._until = now + max(self.open_seconds, retry_after or 0.0)
            self._become("open")

    def abandoned(self, permit: Permit) -> None:
        """Note that a call was given up by its caller, which says nothing of the provider."""
        if permit.probe:
            self._probing = False

    def _become(self, state: CircuitState) -> None:
        if state != self._state:
            self._state = state
            self._changed(state)
