"""JSON schemas that others wrote, kept from taking more time than they are worth.

A schema can make its validator run for ever: by regular expressions, by references that multiply
or meet themselves, by addresses that it has fetched, by alternatives that are tried for each of
many elements. Servers validate their arguments themselves; what is checked here spares the model a
round trip, and a keyword may be left out where it costs too much.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

MAX_STEPS: Final = 5_000
"""Parts of a schema after every reference is followed."""

MAX_CPU_SECONDS: Final = 0.5
"""Of one check; the longest arguments against an ordinary schema take a fifth."""

_COSTLY: Final = (
    "pattern",
    "patternProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
)
_DYNAMIC: Final = ("$dynamicRef", "$recursiveRef", "$id", "$schema")

Check = Callable[[Any], "ValidationError | None"]
"""Returns the first failure of a value, None for one that is valid."""

_Keyword = Callable[["Validator", Any, Any, Mapping[str, Any]], "Iterator[ValidationError] | None"]


class TooCostlyError(Exception):
    """A value takes longer to check than it is worth."""


def own_check(schema: Mapping[str, Any]) -> Check:
    """Return the check against a schema that belongs to this code."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 (60 ms: with the first call)

    return _first_failure(Draft202012Validator(schema))


def foreign_check(schema: Mapping[str, Any]) -> Check:
    """Return a check whose time is bounded, against a schema that anybody wrote.

    It looks at no regular expressions, and at nothing at all where the schema is too large to
    follow; it raises `TooCostlyError` for values that take too long.
    """
    from jsonschema import Draft202012Validator, validators  # noqa: PLC0415 (see above)
    from referencing import Registry  # noqa: PLC0415 (see above)

    clock = _Clock()
    keywords: dict[str, _Keyword] = {
        name: clock.bounds(keyword) for name, keyword in Draft202012Validator.VALIDATORS.items()
    }
    keywords["additionalProperties"] = _unless_expressions(keywords["additionalProperties"])
    bounded: type[Validator] = validators.extend(  # type: ignore[no-untyped-call]  # (theirs)
        Draft202012Validator, {**keywords, **dict.fromkeys(_COSTLY, _unchecked)}
    )
    followed = schema if _can_be_followed(schema) else {"type": "object"}
    # An empty registry: references lead nowhere but into the schema itself.
    first_failure = _first_failure(bounded(followed, registry=Registry()))

    def check(value: Any) -> "ValidationError | None":
        clock.start()
        return first_failure(value)

    return check


def _first_failure(validator: "Validator") -> Check:
    return lambda value: next(validator.iter_errors(value), None)


class _Clock:
    """Ends a check whose time is over; the CPU's, so that a busy machine changes no answer."""

    def __init__(self) -> None:
        self._end = 0.0

    def start(self) -> None:
        self._end = time.thread_time() + MAX_CPU_SECONDS

    def bounds(self, keyword: _Keyword) -> _Keyword:
        """Return the keyword, looked at only while there is time."""

        def bounded(
            validator: "Validator", wanted: Any, value: Any, schema: Mapping[str, Any]
        ) -> "Iterator[ValidationError] | None":
            if time.thread_time() > self._end:
                raise TooCostlyError
            return keyword(validator, wanted, value, schema)

        return bounded


def _unless_expressions(additional: _Keyword) -> _Keyword:
    """Return the keyword, left out where regular expressions say what is additional."""

    def checked(
        validator: "Validator", wanted: Any, value: Any, schema: Mapping[str, Any]
    ) -> "Iterator[ValidationError] | None":
        if "patternProperties" in schema:
            return None
        return additional(validator, wanted, value, schema)

    return checked


def _unchecked(*_: object) -> None:
    """Stand for a keyword that is not checked."""


def _can_be_followed(schema: Mapping[str, Any]) -> bool:
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 (see above)

    try:
        if _Measure(schema).steps(schema) > MAX_STEPS:
            return False
        Draft202012Validator.check_schema(schema)
    except (_EndlessError, RecursionError, SchemaError):
        return False
    return True


class _EndlessError(Exception):
    """A reference that is not within the schema, or that leads back to itself."""


class _Measure:
    """Counts a schema's parts with every reference replaced by what it names."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[str, int] = {}
        self._open: set[str] = set()

    def steps(self, part: Any) -> int:
        if isinstance(part, list):
            return 1 + sum(map(self.steps, part))
        if not isinstance(part, Mapping):
            return 1
        if any(name in part and part is not self._root for name in _DYNAMIC):
            raise _EndlessError
        total = 1 + sum(self.steps(value) for value in part.values())
        reference = part.get("$ref")
        return total + self._referred(reference) if isinstance(reference, str) else total

    def _referred(self, reference: str) -> int:
        if reference in self._open or not reference.startswith("#/"):
            raise _EndlessError
        if reference not in self._known:
            self._open.add(reference)
            self._known[reference] = self.steps(self._named(reference))
            self._open.discard(reference)
        return self._known[reference]

    def _named(self, reference: str) -> Any:
        part: Any = self._root
        for step in reference.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(part, Mapping) or key not in part:
                raise _EndlessError
            part = part[key]
        return part
