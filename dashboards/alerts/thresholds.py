"""The numbers of the rules that depend on a platform, with what they mean and their bounds."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number that the chart's values may change."""

    name: str
    default: float
    text: str
    minimum: float
    maximum: float
    choices: tuple[float, ...] = ()
    """The values that it may have, where not everything between the bounds makes sense."""


# Below 94 percent no share of failures would burn 14.4 times what the objective allows.
_LEAST_OBJECTIVE: Final = 94

THRESHOLDS: Final = (
    Threshold(
        "availabilityPercent",
        99.5,
        "Percent of an organization's answers that must not fail, over 30 days.",
        _LEAST_OBJECTIVE,
        99.99,
    ),
    Threshold(
        "firstTokenPercent",
        95,
        "Percent of an organization's executions whose first token must be there in time.",
        _LEAST_OBJECTIVE,
        99.99,
    ),
    Threshold(
        "firstTokenSeconds",
        5,
        "Seconds from a request's arrival within which a first token is in time.",
        0.25,
        30,
        (0.25, 0.5, 1, 2, 5, 10, 30),
    ),
    Threshold(
        "minimumRequests",
        20,
        "Answers of an organization in a window below which the window says nothing.",
        1,
        1_000_000,
    ),
    Threshold("budgetPercent", 90, "Percent of a budget that are nearly all of it.", 1, 100),
    Threshold(
        "spendingFactor",
        3,
        "How many times an organization's busy hours of the last week are abnormal spending.",
        1.1,
        1000,
    ),
    Threshold(
        "spendingFloorUSD", 5, "US dollars in an hour below which no rise matters.", 0, 1_000_000
    ),
    Threshold("queueAgeSeconds", 30, "Seconds that an execution may wait for a place.", 1, 3600),
    Threshold("storagePercent", 90, "Percent of a memory pool or volume that are full.", 1, 100),
    Threshold("keyDays", 7, "Days before an API key expires.", 1, 365),
)
