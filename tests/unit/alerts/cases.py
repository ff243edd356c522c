"""What a case of an alert is: series by the minute, a moment, and what fires then."""

import re
from dataclasses import dataclass, field

HOUR = 60
DAY = 24 * HOUR


@dataclass(frozen=True)
class Firing:
    """An alert that fires: its labels and, in full, the sentence that the on-call reads."""

    severity: str
    summary: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A story of an alert; `says` is its sentence, `at` the minute of the look.

    `series` maps a series to its samples, one a minute, as promtool writes them.
    """

    alert: str
    says: str
    series: dict[str, str]
    at: int
    firing: tuple[Firing, ...] = ()

    @property
    def id(self) -> str:
        """Return the case as a test's id."""
        return f"{self.alert}: {self.says}"


def rising(*parts: tuple[float, int], start: float = 0) -> str:
    """Return samples of a counter: (by how much it rises a minute, for how many minutes), ..."""
    found, value = [], start
    for step, minutes in parts:
        found.append(f"{value:.6f}+{step:.6f}x{minutes - 1}")
        value += step * minutes
    return " ".join(found)


def still(value: float, minutes: int) -> str:
    """Return samples of a gauge that does not change."""
    return f"{value}+0x{minutes - 1}"


def filled(text: str, labels: dict[str, str]) -> str:
    """Return an annotation as Prometheus fills it in from labels."""
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels.get(found[1], ""), text)
