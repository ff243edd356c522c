"""How answers are kept and told again for `Idempotency-Key`; the kernel decides when."""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from bulkhead_runtime.api.exchange import EVENT_STREAM, Exchange
from bulkhead_runtime.api.problems import render
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.requests import Repeatable
from bulkhead_runtime.store.spending import RepeatedAnswer

_HEADER: Final = b"idempotency-key"
_JSON: Final = "application/json"


def is_asked_for(exchange: Exchange) -> bool:
    """Tell whether the client may ask for the same answer once more."""
    return _HEADER in exchange.headers


def repeatable(
    exchange: Exchange, raw: bytes, answer: Callable[[Any], RepeatedAnswer]
) -> Repeatable | None:
    """Return how the answer to this request is repeated, None where the client has no key."""
    key = exchange.headers.get(_HEADER)
    if key is None:
        return None
    return Repeatable(
        key=key.decode("latin-1"),
        route=f"{exchange.method} {exchange.path}",
        content=hashlib.sha256(raw).hexdigest(),
        answer=answer,
        failure=partial(_failed, exchange),
    )


def kept(body: bytes, *, stream: bool) -> RepeatedAnswer:
    """Return what is kept of an answer that went well."""
    return RepeatedAnswer(200, EVENT_STREAM.decode() if stream else _JSON, body)


async def send_again(exchange: Exchange, answer: RepeatedAnswer) -> None:
    """Send an answer that was kept."""
    await exchange.respond(
        answer.status,
        answer.body,
        content_type=answer.content_type.encode(),
        headers=[(b"idempotency-replayed", b"true")],
    )


def _failed(exchange: Exchange, problem: Problem) -> RepeatedAnswer:
    content_type, body = render(problem, exchange)
    return RepeatedAnswer(problem.status, content_type.decode(), body)
