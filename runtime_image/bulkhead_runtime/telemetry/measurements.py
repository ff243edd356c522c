"""What each version did since the process began, so that a rollout can judge it.

Counted apart from the metrics: a rollout needs one version's figures within seconds, whether or
not anybody scrapes, and without a scrape's cost.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from bulkhead_api.runtime_state import LATENCY_BOUNDS, Measurement

VersionKey = tuple[str, str]
"""Package and version."""


@dataclass(slots=True)
class _Counts:
    executions: int = 0
    failures: int = 0
    seconds: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS) + 1))
    cost: Decimal = Decimal(0)
    tool_calls: int = 0
    tool_denials: int = 0


class VersionMeasurements:
    """Counts per package version; belongs to the event loop's thread.

    Only versions that are loaded are counted, so what is held is bounded by the configuration.
    """

    def __init__(self) -> None:
        self._versions: dict[VersionKey, _Counts] = {}

    def keep(self, loaded: Iterable[VersionKey]) -> None:
        """Count these versions from now on, the known ones further, and forget all others."""
        self._versions = {key: self._versions.get(key) or _Counts() for key in loaded}

    def ended(
        self, version: VersionKey, *, failed: bool, seconds: float, cost: Decimal | None
    ) -> None:
        """Count one execution; `cost` is in US dollars, None where no price is known."""
        counts = self._versions.get(version)
        if counts is None:
            return
        counts.executions += 1
        counts.failures += failed
        counts.seconds[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        if cost:
            counts.cost += cost

    def tool_called(self, version: VersionKey, *, denied: bool) -> None:
        """Count one call of a tool, or one that policy did not let through."""
        counts = self._versions.get(version)
        if counts is None:
            return
        counts.tool_calls += 1
        counts.tool_denials += denied

    def told(self) -> tuple[Measurement, ...]:
        """Return the counts of all versions."""
        return tuple(
            Measurement(
                package=package,
                version=version,
                executions=counts.executions,
                failures=counts.failures,
                seconds=tuple(counts.seconds),
                cost=format(counts.cost, "f"),
                tool_calls=counts.tool_calls,
                tool_denials=counts.tool_denials,
            )
            for (package, version), counts in self._versions.items()
        )
