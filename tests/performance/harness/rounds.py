"""Interleaves variants, so that a busy minute of the machine hits all of them alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Measurement = Mapping[str, float]
"""What one run of one variant yielded: metric name to value."""

AGAIN = "again"
"""The A/A control: the same variant once more in the same round."""


class MeasurementError(Exception):
    """A run did not yield what it must; the message says what was missing and where to look."""


@dataclass(frozen=True)
class Round:
    """What every variant measured in one round."""

    variants: Mapping[str, Measurement]

    def get(self, variant: str, metric: str) -> float:
        """Return one figure; raise MeasurementError when the variant did not measure it."""
        try:
            return self.variants[variant][metric]
        except KeyError:
            raise MeasurementError(f"{variant} did not measure {metric}") from None

    def ratio(self, metric: str, variant: str, reference: str) -> float:
        """Return the quotient of two variants; raise MeasurementError when it has no meaning."""
        below = self.get(reference, metric)
        if below <= 0:
            raise MeasurementError(f"{reference} measured {below} for {metric}: nothing to compare")
        return self.get(variant, metric) / below


def interleave(
    variants: Mapping[str, Callable[[], Measurement]],
    count: int,
    *,
    repeated: str | None = None,
) -> list[Round]:
    """Run every variant once per round, in alternating order, and `repeated` twice."""
    order = [(name, run) for name, run in variants.items()]
    if repeated is not None:
        order.append((AGAIN, variants[repeated]))
    rounds = []
    for number in range(count):
        turn = order if number % 2 == 0 else list(reversed(order))
        rounds.append(Round({name: run() for name, run in turn}))
    return rounds
