"""JSON schemas that others wrote, kept from taking more time than they are worth.

A schema can make its validator run for ever: by regular expressions, by references that multiply
or meet themselves, by addresses that it has fetched. Servers validate their arguments themselves;
what is checked here spares the model a round trip and may be left out where it costs too much.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

MAX_STEPS: Final = 5_000
"""Parts of a schema after every reference is followed."""

_COSTLY: Final = ("pattern", "patternProperties", "unevaluatedItems", "unevaluatedProperties")
_DYNAMIC: Final = ("$dynamicRef", "$recursiveRef", "$id", "$schema")


def own_validator(schema: Mapping[str, Any]) -> "Validator":
    """Return the validator of a schema that belongs to this code."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 (60 ms: with the first call)

    return Draft202012Validator(schema)


def foreign_validator(schema: Mapping[str, Any]) -> "Validator":
    """Return a validator whose time is bounded, for a schema that anybody wrote.

    It checks no regular expressions, and nothing at all where the schema is too large to follow.
    """
    from jsonschema import Draft202012Validator, validators  # noqa: PLC0415 (see above)
    from referencing import Registry  # noqa: PLC0415 (see above)

    bounded: type[Validator] = validators.extend(  # type: ignore[no-untyped-call]  # (theirs)
        Draft202012Validator, dict.fromkeys(_COSTLY, _unchecked)
    )
    followed = schema if _can_be_followed(schema) else {"type": "object"}
    # An empty registry: references lead nowhere but into the schema itself.
    return bounded(followed, registry=Registry())


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
