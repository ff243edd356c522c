"""How what the ports name becomes the JSON that PostgreSQL is asked with.

Times go as distances from now, because only the clock of PostgreSQL counts for all replicas.
Amounts go as text, because a JSON number is a float to many.
"""

import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import orjson

from bulkhead_runtime.events.port import Event
from bulkhead_runtime.models.port import ModelMessage, ToolCall
from bulkhead_runtime.store import cursors
from bulkhead_runtime.store.port import BeginTurn, NewSession, PoolBounds, Summary
from bulkhead_runtime.store.sizes import message_bytes, session_bytes
from bulkhead_runtime.store.spending import (
    Account,
    Amounts,
    Begin,
    Claim,
    Finish,
    LedgerLine,
    RepeatedAnswer,
    TurnEnd,
)

MILLISECONDS = 1000
_NUL = b"\\u0000"

Document = dict[str, Any]


def encode(document: Document) -> bytes:
    """Return the JSON of a document, with U+FFFD for what PostgreSQL's text cannot hold."""
    encoded = orjson.dumps(document)
    return orjson.dumps(_storable(document)) if _NUL in encoded else encoded


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {_storable(key): _storable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(inner) for inner in value]
    return value


def from_now(at: int) -> int:
    """Return how far a time is away, in milliseconds."""
    return at - time.time_ns() // 1_000_000


def after(cursor: str | None) -> tuple[int, str]:
    """Return the time and the id that a page newest first goes on after."""
    if cursor is None:
        return cursors.NEWEST, ""
    at, _, record_id = cursor.partition(".")
    return cursors.number(at), record_id


def amounts(given: Amounts) -> Document:
    """Return amounts as decimal text."""
    return {dimension: format(amount, "f") for dimension, amount in given.items()}


def accounts(given: tuple[Account, ...]) -> list[Document]:
    """Return accounts with their limits."""
    return [
        {"scope": account.scope, "key": account.key, "limits": amounts(account.limits)}
        for account in given
    ]


def bounds(given: PoolBounds) -> Document:
    """Return the bounds, without those that bound nothing."""
    sessions = given.sessions
    idle = given.idle_seconds
    named = {
        "max_bytes": given.max_bytes,
        "idle_ms": None if idle is None else idle * MILLISECONDS,
        "per_principal": sessions.per_principal,
        "per_minute": sessions.per_minute,
        "messages": sessions.messages,
        "parallel": sessions.parallel,
    }
    return {name: bound for name, bound in named.items() if bound is not None}


def new_session(new: NewSession) -> Document:
    """Return a session that is to be."""
    return {
        "id": new.id,
        "principal": new.principal,
        "agent": new.agent,
        "package": new.package,
        "version": new.version,
        "title": new.title,
        "autonomy_level": new.autonomy_level,
        "metadata": dict(new.metadata),
        "bytes": session_bytes(new),
    }


def begin(request: Begin, given: PoolBounds, known_messages: int | None = None) -> bytes:
    """Return the item that begins work; the tail of a session with `known_messages` is at hand."""
    item: Document = {
        "do": "begin",
        "id": request.reservation_id,
        "principal": request.principal,
        "agent": request.agent,
        "accounts": accounts(request.accounts),
        "reserve": amounts(request.reserve),
        "lease_ms": from_now(request.lease_until),
        "bounds": bounds(given),
    }
    if request.claim is not None:
        item["claim"] = _claim(request.claim)
    if request.turn is not None:
        item["turn"] = _begin_turn(request.turn, known_messages)
    return encode(item)


def finish(request: Finish, given: PoolBounds, show: str | None = None) -> bytes:
    """Return the item that ends work; its answer brings the session `show` as it is then."""
    item: Document = {
        "do": "finish",
        "id": request.reservation_id,
        "accounts": accounts(request.accounts),
        "used": amounts(request.used),
        "lines": [line(entry) for entry in request.lines],
        "events": events(request.events),
        "bounds": bounds(given),
        "show": show,
    }
    if request.turn is not None:
        item["turn"] = _end_turn(request.turn, request.lines)
    if request.summary is not None:
        item["summary"] = _summary(request.summary)
    if request.claim is not None:
        item["claim"] = _claim(request.claim)
    if request.answer is not None:
        item["answer"] = _answer(request.answer)
    return encode(item)


def events(given: tuple[Event, ...]) -> list[Document]:
    """Return events in their order."""
    return [
        {
            "id": event.id,
            "type": event.type,
            "at": event.at,
            "principal": event.principal,
            "session_id": event.session_id,
            "trace_id": event.trace_id,
            "run_id": event.run_id,
            "data": dict(event.data),
        }
        for event in given
    ]


def calls(given: tuple[ToolCall, ...]) -> str | None:
    """Return tool calls as JSON text, None for none."""
    if not given:
        return None
    return orjson.dumps([[call.id, call.name, call.arguments] for call in given]).decode()


def _claim(claim: Claim) -> Document:
    return {
        "key": claim.key,
        "principal": claim.principal,
        "content": claim.content,
        "lease_ms": from_now(claim.lease_until),
        "expires_ms": from_now(claim.expires_at),
    }


def _answer(answer: RepeatedAnswer) -> Document:
    return {
        "status": answer.status,
        "content_type": answer.content_type,
        "body": b64encode(answer.body).decode(),
    }


def _begin_turn(turn: BeginTurn, known_messages: int | None) -> Document:
    document: Document = {
        "session_id": turn.session_id,
        "principal": turn.principal,
        "package": turn.package,
        "version": turn.version,
        "expected_bytes": turn.expected_bytes,
        "lease_ms": from_now(turn.expires_at),
        "tail": turn.tail,
    }
    if known_messages is not None:
        document["known_messages"] = known_messages
    if turn.new is not None:
        document["new"] = new_session(turn.new)
    return document


def _end_turn(end: TurnEnd, lines: tuple[LedgerLine, ...]) -> Document:
    """Attribute the turn's tokens: input to the user's message, output to the final answer."""
    tokens = [0] * len(end.messages)
    if tokens:
        tokens[-1] = sum(line.output_tokens for line in lines)
        tokens[0] = sum(line.input_tokens for line in lines)
    return {
        "session_id": end.turn.session_id,
        "fence": end.turn.fence,
        "status": end.status,
        "context_tokens": end.context_tokens,
        "bytes": sum(map(message_bytes, end.messages)),
        "messages": [
            _message(message, count) for message, count in zip(end.messages, tokens, strict=True)
        ],
    }


def _message(message: ModelMessage, tokens: int) -> Document:
    return {
        "role": message.role,
        "content": message.content,
        "tool_calls": calls(message.tool_calls),
        "tool_call_id": message.tool_call_id,
        "tokens": tokens,
    }


def _summary(summary: Summary) -> Document:
    return {"session_id": summary.session_id, "text": summary.text, "until": summary.until}


def line(entry: LedgerLine) -> Document:
    """Return a line of the ledger."""
    return {
        "id": entry.id,
        "type": entry.type,
        "at": entry.at,
        "principal": entry.principal,
        "agent": entry.agent,
        "package": entry.package,
        "version": entry.version,
        "model": entry.model,
        "input_tokens": entry.input_tokens,
        "output_tokens": entry.output_tokens,
        "cost": None if entry.cost is None else format(entry.cost, "f"),
        "session_id": entry.session_id,
        "job_id": entry.job_id,
        "run_id": entry.run_id,
        "tool": entry.tool,
    }
