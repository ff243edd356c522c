"""What rules are made of.

Texts name thresholds in angle brackets, `<queueAgeSeconds>`: the rule file gets their defaults, the
chart reads them from its values.
"""

from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["critical", "warning"]
"""critical wakes somebody up, warning is for the next working day."""

RUNBOOKS: Final = "docs/runbooks"


@dataclass(frozen=True, slots=True)
class Recording:
    """An expression whose result is kept under a name: level:metric:operations."""

    record: str
    expr: str


@dataclass(frozen=True, slots=True)
class Alert:
    """An expression that returns series while something is wrong.

    `hold` is how long it must do so first, as Prometheus writes durations, empty for not at all;
    `summary` says what is wrong and for whom, `description` what to do about it.
    """

    name: str
    severity: Severity
    expr: str
    summary: str
    description: str
    hold: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other, each seeing what those before recorded."""

    name: str
    interval: str
    rules: tuple[Recording | Alert, ...]
