"""The outermost step of every request: nothing raised inside leaves without an answer."""

import logging
from collections.abc import Awaitable, Callable

from bulkhead_runtime.api.exchange import ClientGoneError, Exchange
from bulkhead_runtime.api.problems import OPENAI_PATHS, send_problem
from bulkhead_runtime.api.types import Receive, Scope, Send
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.runtime import Runtime

log = logging.getLogger(__name__)


async def answering(
    runtime: Runtime,
    scope: Scope,
    receive: Receive,
    send: Send,
    route: Callable[[Exchange], Awaitable[None]],
) -> None:
    """Make the exchange, route it, and turn what is raised into an answer."""
    exchange = Exchange(
        scope, receive, send, close=runtime.draining, count=runtime.metrics.request_answered
    )
    try:
        await route(exchange)
    except ClientGoneError:
        return
    except Problem as problem:
        await _answer(exchange, problem)
    except Exception:
        log.exception("Request failed", extra={"trace_id": exchange.trace.trace_id})
        if exchange.started:
            raise
        await _answer(exchange, _internal_error())


def _internal_error() -> Problem:
    return Problem(
        500, "internal_error", "Something failed here. The trace id finds it in the logs."
    )


async def _answer(exchange: Exchange, problem: Problem) -> None:
    if exchange.started:
        raise problem
    await send_problem(exchange, problem, openai=exchange.path.startswith(OPENAI_PATHS))
