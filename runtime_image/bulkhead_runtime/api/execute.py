"""POST /v1/agents/{agent}/execute and .../execute/stream."""

from typing import Annotated, Any

import msgspec
import orjson

from bulkhead_runtime.api import idempotency, problems
from bulkhead_runtime.api.answers import note_warnings
from bulkhead_runtime.api.bodies import decode
from bulkhead_runtime.api.events import KeepAlive, frame
from bulkhead_runtime.api.exchange import ClientGoneError, Exchange
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.execution import Event, Started, Token, UsageTotal, discard
from bulkhead_runtime.kernel.requests import Caller, TurnRequest
from bulkhead_runtime.kernel.turns import TurnResult
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.spending import RepeatedAnswer

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
    session_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    title: Annotated[str, msgspec.Meta(max_length=200)] = ""
    metadata: Metadata = {}


_decoder = msgspec.json.Decoder(ExecuteBody)


async def execute(exchange: Exchange, runtime: Runtime, agent: str) -> None:
    """Answer with the whole turn."""
    raw, body = await _read(exchange, runtime)
    repeated = idempotency.repeatable(exchange, raw, _kept)
    request = _request(agent, body, exchange.caller(repeated))
    result = await exchange.until_gone(runtime.turns.execute(request, discard))
    note_warnings(exchange, result.warnings)
    await exchange.respond(200, orjson.dumps(payload(result)), headers=None)


async def execute_stream(exchange: Exchange, runtime: Runtime, agent: str) -> None:
    """Answer with events: meta, token, done or error."""
    raw, body = await _read(exchange, runtime)
    repeated = idempotency.repeatable(exchange, raw, _kept_events)
    request = _request(agent, body, exchange.caller(repeated))
    with KeepAlive(exchange) as keep_alive:

        async def emit(event: Event) -> None:
            keep_alive.touch()
            if isinstance(event, Token):
                await exchange.write(frame("token", {"text": event.text}))
                return
            note_warnings(exchange, event.warnings)
            await exchange.start_events(frame("meta", _meta(event)))

        try:
            result = await exchange.until_gone(runtime.turns.execute(request, emit))
        except Exception as error:
            if not exchange.started or isinstance(error, ClientGoneError):
                raise
            problem = problems.answerable(error, exchange)
            last = frame("error", problems.problem_document(problem, exchange.trace))
        else:
            last = frame("done", payload(result))
        await exchange.finish(last)


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


def _kept(result: TurnResult) -> RepeatedAnswer:
    return idempotency.kept(orjson.dumps(payload(result)), stream=False)


def _kept_events(result: TurnResult) -> RepeatedAnswer:
    """Return every event, the answer's text in one."""
    frames = [frame("meta", _meta(result))]
    if result.answer:
        frames.append(frame("token", {"text": result.answer}))
    frames.append(frame("done", payload(result)))
    return idempotency.kept(b"".join(frames), stream=True)


def _meta(turn: Started | TurnResult) -> dict[str, Any]:
    return {
        "trace_id": turn.trace_id,
        "session_id": turn.session_id,
        "agent": turn.agent,
        "version": turn.version,
        "model": turn.model,
    }


def usage_payload(usage: UsageTotal) -> dict[str, Any]:
    """Return tokens and cost as clients see them."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "cost": usage.cost,
    }


async def _read(exchange: Exchange, runtime: Runtime) -> tuple[bytes, ExecuteBody]:
    raw = await exchange.read_json(runtime.holder.require().max_body_bytes)
    body = decode(_decoder, raw)
    if body.session_id is not None and (body.metadata or body.title):
        field = "metadata" if body.metadata else "title"
        raise Problem(
            422,
            f"{field}_not_allowed",
            f"`{field}` belongs to a new session. Leave it out when `session_id` is given.",
            field=field,
        )
    return raw, body


def _request(agent: str, body: ExecuteBody, caller: Caller) -> TurnRequest:
    return TurnRequest(
        agent=agent,
        message=body.message,
        caller=caller,
        session_id=body.session_id,
        metadata=body.metadata,
        title=body.title,
    )
