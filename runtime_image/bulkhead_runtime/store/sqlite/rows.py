"""How records lie in rows: columns and encoding."""

from decimal import Decimal
from typing import Any

import orjson

from bulkhead_runtime.models.port import ModelMessage, ToolCall
from bulkhead_runtime.store.port import PoolBounds, Session, StoredMessage

MILLISECONDS = 1000

SESSION_COLUMNS = (
    "id, principal, agent, package, version, status, created_at, updated_at, turns, messages, "
    "input_tokens, output_tokens, cost, metadata, title, autonomy_level, compactions, "
    "context_tokens, summary, summary_until"
)
_UPDATED_AT = 7
_METADATA = 13
MESSAGE_COLUMNS = "sequence, turn, created_at, tokens, role, content, tool_calls, tool_call_id"


def to_session(row: tuple[Any, ...], bounds: PoolBounds) -> Session:
    """Return the session of a row of SESSION_COLUMNS."""
    idle = bounds.idle_seconds
    expires_at = None if idle is None else row[_UPDATED_AT] + idle * MILLISECONDS
    former, metadata, later = row[:_METADATA], row[_METADATA], row[_METADATA + 1 :]
    columns = (*former, orjson.loads(metadata), *later, expires_at)
    return Session(*columns)


def to_stored_message(row: tuple[Any, ...]) -> StoredMessage:
    """Return the message of a row of MESSAGE_COLUMNS."""
    sequence, turn, created_at, tokens, *message = row
    return StoredMessage(sequence, turn, created_at, to_message(tuple(message)), tokens)


def to_message(row: tuple[Any, ...]) -> ModelMessage:
    """Return the message of a row that begins with role, content, tool calls and their id."""
    return ModelMessage(row[0], row[1], decode_calls(row[2]), row[3])


def encode_calls(calls: tuple[ToolCall, ...]) -> str | None:
    """Return the JSON text of tool calls, None for none."""
    if not calls:
        return None
    return orjson.dumps([[call.id, call.name, call.arguments] for call in calls]).decode()


def decode_calls(text: str | None) -> tuple[ToolCall, ...]:
    """Return the tool calls of a row's text."""
    return () if text is None else tuple(ToolCall(*call) for call in orjson.loads(text))


def cost_text(cost: Decimal | None) -> str | None:
    """Return a cost as decimal text."""
    return None if cost is None else format(cost, "f")


def add_costs(former: str | None, more: Decimal | None) -> str | None:
    """Return the sum of two costs as decimal text; an unknown one adds nothing."""
    if more is None:
        return former
    return cost_text(more if former is None else Decimal(former) + more)
