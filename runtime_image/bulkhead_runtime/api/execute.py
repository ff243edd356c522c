"""POST /v1/agents/{agent}/execute and .../execute/stream."""

from typing import Annotated, Any

import msgspec
import orjson

from bulkhead_runtime.api import problems
from bulkhead_runtime.api.bodies import decode
from bulkhead_runtime.api.events import KeepAlive, frame
from bulkhead_runtime.api.exchange import ClientGoneError, Exchange
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.execution import Event, Token, UsageTotal, discard
from bulkhead_runtime.kernel.requests import TurnRequest
from bulkhead_runtime.kernel.turns import TurnResult
from bulkhead_runtime.runtime import Runtime

Metadata = Annotated[
    dict[
        Annotated[str, msgspec.Meta(min_length=1, max_length=64)],
        Annotated[str, msgspec.Meta(max_length=512)],
    ],
    msgspec.Meta(max_length=16),
]


class ExecuteBody(msgspec.Struct, forbid_unknown_fields=True):
    """A message to an agent."""

    message: Annotated[str, msgspec.Meta(min_length=1)]
    session_id: str | None = None
    metadata: Metadata = {}


_decoder = msgspec.json.Decoder(ExecuteBody)


async def execute(exchange: Exchange, runtime: Runtime, agent: str) -> None:
    """Answer with the whole turn."""
    request = await _request(exchange, runtime, agent)
    result = await exchange.until_gone(runtime.turns.execute(request, discard))
    await exchange.respond(200, orjson.dumps(payload(result)), headers=None)


async def execute_stream(exchange: Exchange, runtime: Runtime, agent: str) -> None:
    """Answer with events: meta, token, done or error."""
    request = await _request(exchange, runtime, agent)
    with KeepAlive(exchange) as keep_alive:

        async def emit(event: Event) -> None:
            keep_alive.touch()
            if isinstance(event, Token):
                await exchange.write(frame("token", {"text": event.text}))
                return
            await exchange.start_events()
            meta = {
                "trace_id": event.trace_id,
                "session_id": event.session_id,
                "agent": event.agent,
                "version": event.version,
                "model": event.model,
            }
            await exchange.write(frame("meta", meta))

        try:
            result = await exchange.until_gone(runtime.turns.execute(request, emit))
        except Exception as error:
            if not exchange.started or isinstance(error, ClientGoneError):
                raise
            problem = problems.answerable(error, exchange.trace)
            await exchange.write(frame("error", problems.problem_document(problem, exchange.trace)))
        else:
            await exchange.write(frame("done", payload(result)))
        await exchange.finish()


def payload(result: TurnResult) -> dict[str, Any]:
    """Return a turn as clients see it."""
    return {
        "session_id": result.session_id,
        "status": result.status,
        "answer": result.answer,
        "usage": usage_payload(result.usage),
        "agent": result.agent,
        "version": result.version,
        "model": result.model,
        "trace_id": result.trace_id,
    }


def usage_payload(usage: UsageTotal) -> dict[str, Any]:
    """Return tokens and cost as clients see them."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "cost": usage.cost,
    }


async def _request(exchange: Exchange, runtime: Runtime, agent: str) -> TurnRequest:
    limit = runtime.holder.require().max_body_bytes
    body = decode(_decoder, await exchange.read_json(limit))
    if body.session_id is not None and body.metadata:
        raise Problem(
            422,
            "metadata_not_allowed",
            "`metadata` belongs to a new session. Leave it out when `session_id` is given.",
            field="metadata",
        )
    return TurnRequest(
        agent=agent,
        message=body.message,
        caller=exchange.caller(),
        session_id=body.session_id,
        metadata=body.metadata,
    )
