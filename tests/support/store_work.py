"""Pieces of work for tests of stores, with what does not matter filled in."""

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any, Protocol

from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.port import BeginTurn, NewSession, PoolBounds, SessionBounds, Turn
from bulkhead_runtime.store.spending import (
    Account,
    Amounts,
    Begin,
    Begun,
    Claim,
    Dimension,
    Finish,
    Finished,
    LedgerLine,
    TurnEnd,
)

BOUNDS = PoolBounds("default", 64, None)
FAR = 2**50
"""A time in Unix milliseconds that no test lives to see."""

_numbers = itertools.count()


def now() -> int:
    return time.time_ns() // 1_000_000


def unique(prefix: str) -> str:
    return f"{prefix}_{time.time_ns():x}_{next(_numbers)}"


def limited(**limits: int) -> PoolBounds:
    return PoolBounds("default", 64, None, SessionBounds(**limits))


def new_session(session_id: str = "ses_1", principal: str = "me", **more: Any) -> NewSession:
    return NewSession(session_id, principal, "assistant", "helper", "1.0.0", **more)


def begin_turn(
    session_id: str = "ses_1",
    *,
    new: bool = False,
    principal: str = "me",
    expires_at: int = FAR,
    tail: int = 50,
    expected_bytes: int = 100,
) -> BeginTurn:
    return BeginTurn(
        session_id=session_id,
        principal=principal,
        package="helper",
        version="1.0.0",
        new=new_session(session_id, principal) if new else None,
        expected_bytes=expected_bytes,
        expires_at=expires_at,
        tail=tail,
    )


def begin(**parts: Any) -> Begin:
    given: dict[str, Any] = {
        "reservation_id": unique("rsv"),
        "accounts": (),
        "reserve": {},
        "lease_until": FAR,
        "principal": "me",
        "agent": "assistant",
    }
    return Begin(**(given | parts))


def finish(begun: Begin, **parts: Any) -> Finish:
    given: dict[str, Any] = {
        "reservation_id": begun.reservation_id,
        "accounts": begun.accounts,
        "used": {},
        "lines": (),
        "claim": begun.claim,
    }
    return Finish(**(given | parts))


def line(**parts: Any) -> LedgerLine:
    given: dict[str, Any] = {
        "id": unique("use"),
        "type": "model",
        "at": now(),
        "principal": "me",
        "agent": "assistant",
        "package": "helper",
        "version": "1.0.0",
        "model": "offline/echo",
        "input_tokens": 3,
        "output_tokens": 5,
        "cost": Decimal("0.1"),
    }
    return LedgerLine(**(given | parts))


def claim(content: str = "a" * 64, **parts: Any) -> Claim:
    given: dict[str, Any] = {
        "key": "b" * 64,
        "principal": "me",
        "content": content,
        "lease_until": FAR,
        "expires_at": FAR,
    }
    return Claim(**(given | parts))


def account(scope: str = "total", key: str = "", **limits: str) -> Account:
    return Account(scope, key, amounts(**limits))  # type: ignore[arg-type]


def amounts(**values: str) -> Amounts:
    found: dict[Dimension, Decimal] = {}
    for dimension, value in values.items():
        found[dimension] = Decimal(value)  # type: ignore[index]
    return found


async def started(store: StoreOfRecord, request: Begin, bounds: PoolBounds = BOUNDS) -> Begun:
    begun = await store.begin(request, bounds)
    assert isinstance(begun, Begun), begun
    return begun


async def turn_of(
    store: StoreOfRecord, request: BeginTurn, bounds: PoolBounds = BOUNDS
) -> tuple[Begin, Turn]:
    """Begin a turn; return what asked for it and what may run."""
    asked = begin(turn=request)
    begun = await started(store, asked, bounds)
    assert begun.turn is not None
    return asked, begun.turn


def remembered(turn: Turn, text: str, **parts: Any) -> TurnEnd:
    messages = (ModelMessage("user", text), ModelMessage("assistant", f"re: {text}"))
    return TurnEnd(turn, parts.pop("status", "completed"), parts.pop("messages", messages), **parts)


async def say(
    store: StoreOfRecord,
    text: str,
    session_id: str = "ses_1",
    *,
    new: bool = False,
    principal: str = "me",
) -> Finished:
    """Run a whole turn that uses one model call."""
    asked, turn = await turn_of(store, begin_turn(session_id, new=new, principal=principal))
    use = line(principal=principal, session_id=session_id)
    return await store.finish(finish(asked, turn=remembered(turn, text), lines=(use,)), BOUNDS)


class _Page(Protocol):
    @property
    def items(self) -> tuple[Any, ...]: ...
    @property
    def next_cursor(self) -> str | None: ...


async def every(page: Callable[[str | None], Awaitable[_Page]]) -> AsyncIterator[Any]:
    """Yield what all pages hold, following their cursors."""
    cursor: str | None = None
    while True:
        found = await page(cursor)
        for item in found.items:
            yield item
        cursor = found.next_cursor
        if cursor is None:
            return


async def said(store: StoreOfRecord, session_id: str = "ses_1", principal: str = "me") -> list[str]:
    async def page(cursor: str | None) -> _Page:
        return await store.messages(session_id, principal, BOUNDS, limit=50, cursor=cursor)

    return [item.message.content async for item in every(page)]
