"""The outermost step of every request: nothing raised inside leaves without an answer."""

from collections.abc import Awaitable, Callable

from bulkhead_runtime.api import idempotency
from bulkhead_runtime.api.exchange import ClientGoneError, Exchange
from bulkhead_runtime.api.problems import answerable, send_problem
from bulkhead_runtime.api.types import Receive, Scope, Send
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.requests import Repeated
from bulkhead_runtime.runtime import Runtime


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
    except Repeated as repeated:
        await idempotency.send_again(exchange, repeated.answer)
    except Problem as problem:
        await _answer(exchange, problem)
    except Exception as error:  # noqa: BLE001 (the outermost step; logged with its trace)
        await _answer(exchange, answerable(error, exchange))


async def _answer(exchange: Exchange, problem: Problem) -> None:
    if exchange.started:
        raise problem
    await send_problem(exchange, problem)
