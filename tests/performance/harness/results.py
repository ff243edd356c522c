"""Turns rounds into verdicts: the median of per-round figures, none when the control is noisy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from tests.performance.harness.rounds import AGAIN, Round

NOISE = 0.10
"""The most that the same thing measured twice may differ before no verdict is given."""

OURS = "bulkhead"


@dataclass(frozen=True)
class Bar:
    """One row: how its figure follows from a round, and what it must reach.

    `control` names the metric whose A/A ratio must be quiet; None for plain counts.
    """

    id: str
    what: str
    against: str
    bar: float
    better: Literal["lower", "higher"]
    figure: Callable[[Round], float]
    control: str | None = None
    summary: Literal["median", "worst"] = "median"


@dataclass(frozen=True)
class Result:
    """A row's outcome."""

    id: str
    what: str
    value: float
    against: str
    bar: float
    better: Literal["lower", "higher"]
    low: float
    high: float
    rounds: int
    control: float | None

    @property
    def noisy(self) -> bool:
        """Tell whether the same thing measured twice differed too much for a verdict."""
        return self.control is not None and abs(self.control - 1) > NOISE

    @property
    def met(self) -> bool | None:
        """Tell whether the bar is reached; None when the run was too noisy to say."""
        if self.noisy:
            return None
        return self.value <= self.bar if self.better == "lower" else self.value >= self.bar


def ratio(metric: str, reference: str, *, ours: str = OURS) -> Callable[[Round], float]:
    """Return the figure "ours divided by the reference's"."""
    return lambda measured: measured.ratio(metric, ours, reference)


def added_ratio(metric: str, reference: str, base: str) -> Callable[[Round], float]:
    """Return the figure "what ours adds to the base, divided by what the reference adds"."""

    def figure(measured: Round) -> float:
        floor = measured.get(base, metric)
        ours, theirs = measured.get(OURS, metric) - floor, measured.get(reference, metric) - floor
        # Ours may lie within the base's noise; it then adds nothing, and never less.
        return max(ours, 0.0) / max(theirs, 1e-9)

    return figure


def plain(metric: str, *, variant: str = OURS) -> Callable[[Round], float]:
    """Return the figure as it was measured."""
    return lambda measured: measured.get(variant, metric)


def judge(bar: Bar, rounds: Sequence[Round]) -> Result:
    """Return the outcome of one row."""
    figures = [bar.figure(measured) for measured in rounds]
    worst = max(figures) if bar.better == "lower" else min(figures)
    control = None
    if bar.control is not None:
        control = median(measured.ratio(bar.control, OURS, AGAIN) for measured in rounds)
    return Result(
        id=bar.id,
        what=bar.what,
        value=median(figures) if bar.summary == "median" else worst,
        against=bar.against,
        bar=bar.bar,
        better=bar.better,
        low=min(figures),
        high=max(figures),
        rounds=len(figures),
        control=control,
    )
