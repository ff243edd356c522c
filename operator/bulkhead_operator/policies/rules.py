"""How decisions are written: ordered rules, each with its reason and its remedy."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from bulkhead_operator.errors import UserError

Facts = TypeVar("Facts")

Rule = Callable[[Facts], UserError | None]
"""Returns why something is refused: the message names the field, its value and the remedy."""


def first_violation(rules: Sequence[Rule[Facts]], facts: Facts) -> UserError | None:
    """Return what the first rule that does not hold says."""
    for rule in rules:
        violation = rule(facts)
        if violation is not None:
            return violation
    return None
