"""GET /v1/runtime/events: what happened, as pages or followed as server-sent events.

A caller sees the events of its own principal; with `sessions:any` those of everybody.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from bulkhead_runtime.api import scopes
from bulkhead_runtime.api.events import KeepAlive
from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.api.query import invalid, parameters
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.events.types import EVENT_TYPES
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.records import EventFilter, StoredEvent

MAX_FOLLOWERS: Final = 100
MAX_PAGE: Final = 200
_DEFAULT_PAGE: Final = 50
Found = AsyncGenerator[StoredEvent | None]
_MAX_SEQUENCE: Final = 2**63 - 1
_AS_ELSEWHERE: Final = orjson.OPT_UTC_Z
_PARAMETERS: Final = frozenset(
    {"type", "session_id", "trace_id", "principal", "after", "limit", "newest", "follow"}
)


class EventFeed:
    """Answers with events; bounds how many follow at once."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._followers = 0

    async def answer(self, exchange: Exchange) -> None:
        """Answer with one page, or with `follow=true` with a stream that does not end."""
        scopes.require(exchange.principal, scopes.EVENTS_READ)
        query = parameters(exchange, _PARAMETERS)
        wanted = _filter(exchange, query)
        limit = _number(query, "limit", _DEFAULT_PAGE, 1, MAX_PAGE)
        if _flag(query, "follow"):
            await self._follow(exchange, wanted, limit)
        else:
            await self._page(exchange, wanted, limit)

    async def _page(self, exchange: Exchange, wanted: EventFilter, limit: int) -> None:
        events = await self._runtime.store.events(wanted, limit=limit)
        page = {
            "data": [_document(event) for event in events],
            "next_after": events[-1].sequence if events else wanted.after,
            "has_more": len(events) == limit and not wanted.newest,
        }
        await exchange.respond(200, orjson.dumps(page, option=_AS_ELSEWHERE), headers=None)

    async def _follow(self, exchange: Exchange, wanted: EventFilter, limit: int) -> None:
        if self._followers >= MAX_FOLLOWERS:
            raise Problem(
                429,
                "too_many_followers",
                f"{MAX_FOLLOWERS} clients follow events already. Read them page by page.",
                retry_after=10,
            )
        self._followers += 1
        try:
            with KeepAlive(exchange) as keep_alive:
                await exchange.start_events()
                events = self._runtime.events.follow(wanted, limit=limit)
                await exchange.until_gone(self._write(exchange, events, keep_alive))
                await exchange.finish()
        finally:
            self._followers -= 1

    async def _write(self, exchange: Exchange, found: Found, keep_alive: KeepAlive) -> None:
        """Write events until the client leaves or the process is about to end."""
        async with aclosing(found) as events:
            async for event in events:
                if self._runtime.draining:
                    return
                if event is not None:
                    keep_alive.touch()
                    await exchange.write(_frame(event))


def _document(stored: StoredEvent) -> dict[str, Any]:
    event = stored.event
    return {
        "sequence": stored.sequence,
        "id": event.id,
        "type": event.type,
        "at": datetime.fromtimestamp(event.at / 1000, UTC),
        "principal": event.principal,
        "session_id": event.session_id,
        "trace_id": event.trace_id,
        "run_id": event.run_id,
        "data": dict(event.data),
    }


def _frame(stored: StoredEvent) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (
        stored.sequence,
        stored.event.type.encode(),
        orjson.dumps(_document(stored), option=_AS_ELSEWHERE),
    )


def _filter(exchange: Exchange, query: dict[str, list[str]]) -> EventFilter:
    types = tuple(dict.fromkeys(query.get("type", ())))
    unknown = next((name for name in types if name not in EVENT_TYPES), None)
    if unknown is not None:
        raise invalid("type", f"has no value {unknown[:64]!r}; the documentation lists all")
    own = scopes.owner(exchange.principal)
    principal = _text(query, "principal")
    if own is not None and principal not in {None, own}:
        raise Problem(
            403,
            "missing_scope",
            "Events of other principals need the scope `sessions:any`. Leave `principal` out.",
            field="principal",
        )
    last = exchange.headers.get(b"last-event-id")
    if last is not None:
        query = {**query, "after": [last.decode("latin-1")]}
    return EventFilter(
        types=types,
        session_id=_text(query, "session_id"),
        trace_id=_text(query, "trace_id"),
        principal=principal if own is None else own,
        after=_number(query, "after", 0, 0, _MAX_SEQUENCE),
        # Who comes back has had the newest, and wants all since then.
        newest=_flag(query, "newest") and last is None,
    )


def _text(query: dict[str, list[str]], name: str) -> str | None:
    value = query.get(name, [None])[-1]
    most = scopes.MAX_PRINCIPAL_CHARACTERS
    if value is not None and not (0 < len(value) <= most and value.isprintable()):
        raise invalid(name, f"must have 1 to {most} printable characters")
    return value


def _flag(query: dict[str, list[str]], name: str) -> bool:
    value = query.get(name, ["false"])[-1]
    if value not in {"false", "true"}:
        raise invalid(name, "must be one of false, true")
    return value == "true"


def _number(query: dict[str, list[str]], name: str, default: int, least: int, most: int) -> int:
    text = query.get(name, [str(default)])[-1]
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1  # noqa: PLR2004 (digits of 64 bits)
    if not least <= number <= most:
        raise invalid(name, f"must be a whole number from {least} to {most}")
    return number
