"""Conditions on the arguments of a tool's call.

Arguments are compared as text or as decimal numbers. Where an argument is a list, a rule that
allows needs every element to meet its condition and any other rule needs one: nothing slips
through in company.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from bulkhead_api.v1alpha1.policies import ArgumentCondition
from bulkhead_runtime.policy.patterns import Patterns

_ABSENT: Final = object()
MAX_NUMBER_CHARACTERS: Final = 64
"""Longer numerals are compared as text only: arithmetic on them costs more than it tells."""

Test = Callable[[Any], bool]


class Condition:
    """One compiled condition; `every` says whether all elements of a list must meet it."""

    __slots__ = ("_every", "_path", "_test")

    def __init__(self, condition: ArgumentCondition, *, every: bool) -> None:
        self._path = _tokens(condition.path)
        self._test = _test(condition)
        self._every = every

    def holds(self, arguments: Mapping[str, Any]) -> bool:
        """Tell whether the arguments meet the condition; an absent one meets none."""
        value = _find(arguments, self._path)
        if value is _ABSENT:
            return False
        if not isinstance(value, list):
            return self._test(value)
        if self._every:
            return bool(value) and all(map(self._test, value))
        return any(map(self._test, value))


def _test(condition: ArgumentCondition) -> Test:
    match condition.operator:
        case "Exists":
            return lambda _: True
        case "Equals" | "In":
            texts = frozenset(condition.values)
            return lambda value: _text(value) in texts
        case "Matches":
            patterns = Patterns(condition.values)
            return lambda value: _text(value) in patterns
        case "LessOrEqual":
            return _comparison(condition.values[0], lambda number, bound: number <= bound)
        case "GreaterOrEqual":
            return _comparison(condition.values[0], lambda number, bound: number >= bound)


def _comparison(bound: str, holds: Callable[[Decimal, Decimal], bool]) -> Test:
    limit = Decimal(bound)

    def compare(value: Any) -> bool:
        number = _number(value)
        return number is not None and holds(number, limit)

    return compare


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value)
    if len(text) > MAX_NUMBER_CHARACTERS:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _text(value: Any) -> str | None:
    """Return a value as JSON shows it; None for what has parts."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case None:
            return "null"
        case _:
            return None


def _tokens(pointer: str) -> tuple[str, ...]:
    """Return the steps of a JSON pointer (RFC 6901)."""
    steps = pointer.split("/")[1:]
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)


def _find(arguments: Any, path: tuple[str, ...]) -> Any:
    value = arguments
    for step in path:
        if isinstance(value, Mapping):
            value = value.get(step, _ABSENT)
        elif isinstance(value, list) and step.isascii() and step.isdigit():
            index = int(step) if len(step) < MAX_NUMBER_CHARACTERS else len(value)
            value = value[index] if index < len(value) else _ABSENT
        else:
            return _ABSENT
        if value is _ABSENT:
            return _ABSENT
    return value
