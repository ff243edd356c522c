"""Query parameters, of which no path ignores any: a misspelt filter would answer for everything."""

from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qs

from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.errors import Problem

_MAX_PARAMETERS: Final = 64


def parameters(exchange: Exchange, known: Collection[str]) -> dict[str, list[str]]:
    """Return the values by name; raise a 422 `Problem` for a name that is none of `known`."""
    text = exchange.scope["query_string"].decode("ascii", "replace")
    try:
        given = parse_qs(text, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError as error:
        raise invalid("query", f"has more than {_MAX_PARAMETERS} parameters") from error
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        takes = ", ".join(f"`{name}`" for name in sorted(known)) or "none"
        raise invalid(unknown[:64], f"is no query parameter here; this path takes {takes}")
    return given


def invalid(field: str, reason: str) -> Problem:
    """Return the `Problem` of a parameter that cannot be taken."""
    return Problem(422, "invalid_query", f"`{field}` {reason}.", field=field)
