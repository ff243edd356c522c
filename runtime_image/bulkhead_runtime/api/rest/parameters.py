"""What routes have in common: who calls, which scope that needs, how lists are paged."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from fastapi.params import Depends as Dependency

from bulkhead_runtime.api import query, scopes
from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.api.problems import OPENAI_PATHS
from bulkhead_runtime.kernel.context import Principal

_PLAIN = r"^[!-~]*$"
"""What no database has a quarrel with."""

Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[
    str | None,
    Query(max_length=128, pattern=_PLAIN, description="`next_cursor` of the page before."),
]
SessionId = Annotated[
    str, Path(min_length=1, max_length=64, pattern=_PLAIN, description="The session's id.")
]


async def asked(request: Request) -> Exchange:
    """Return the exchange that a request belongs to."""
    exchange: Exchange = request.scope["exchange"]
    return exchange


async def caller(request: Request) -> Principal:
    """Return who calls."""
    return (await asked(request)).principal


Asked = Annotated[Exchange, Depends(asked)]


Caller = Annotated[Principal, Depends(caller)]


def needs(scope: str) -> Dependency:
    """Return the dependency that refuses callers without a scope."""

    async def check(principal: Caller) -> None:
        scopes.require(principal, scope)

    check_typed: Callable[[Principal], Awaitable[None]] = check
    return Dependency(check_typed)


async def refuse_unknown_parameters(request: Request) -> None:
    """Raise a 422 `Problem` for a query parameter that the route does not name.

    Clients of OpenAI's API add their own, which OpenAI ignores.
    """
    exchange = await asked(request)
    if not exchange.path.startswith(OPENAI_PATHS):
        known = {one.alias for one in request.scope["route"].dependant.query_params}
        query.parameters(exchange, known)


def moment(milliseconds: int) -> datetime:
    """Return a time of the store as clients see it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
