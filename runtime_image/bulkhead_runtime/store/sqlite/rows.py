"""How records lie in rows: columns, encoding, and how many bytes of the pool they take."""

import sqlite3
from decimal import Decimal
from typing import Any

import orjson

from bulkhead_runtime.models.port import ModelMessage, ToolCall
from bulkhead_runtime.store.port import Session, StoredMessage

SESSION_OVERHEAD_BYTES = 512
MESSAGE_OVERHEAD_BYTES = 64
"""What a row takes beyond its text: keys, counters, index entries."""

SESSION_COLUMNS = (
    "id, principal, agent, package, version, status, created_at, updated_at, turns, messages, "
    "input_tokens, output_tokens, cost, metadata"
)
MESSAGE_COLUMNS = "sequence, turn, created_at, role, content, tool_calls, tool_call_id, tokens"


def to_session(row: tuple[Any, ...]) -> Session:
    """Return the session of a row of SESSION_COLUMNS."""
    *columns, metadata = row
    return Session(*[*columns, orjson.loads(metadata)])


def to_stored_message(row: tuple[Any, ...]) -> StoredMessage:
    """Return the message of a row of MESSAGE_COLUMNS."""
    sequence, turn, created_at, role, content, tool_calls, tool_call_id, tokens = row
    message = ModelMessage(role, content, decode_calls(tool_calls), tool_call_id)
    return StoredMessage(sequence, turn, created_at, message, tokens)


def encode_calls(calls: tuple[ToolCall, ...]) -> str | None:
    """Return the JSON text of tool calls, None for none."""
    if not calls:
        return None
    return orjson.dumps([[call.id, call.name, call.arguments] for call in calls]).decode()


def decode_calls(text: str | None) -> tuple[ToolCall, ...]:
    """Return the tool calls of a row's text."""
    return () if text is None else tuple(ToolCall(*call) for call in orjson.loads(text))


def message_bytes(message: ModelMessage) -> int:
    """Return what a message takes of the pool."""
    size = MESSAGE_OVERHEAD_BYTES + len(message.content.encode())
    for call in message.tool_calls:
        size += len(call.arguments.encode()) + len(call.name) + len(call.id)
    return size


def session_bytes(metadata: str) -> int:
    """Return what a session without messages takes of the pool."""
    return SESSION_OVERHEAD_BYTES + len(metadata.encode())


def add_costs(former: str | None, more: str | None) -> str | None:
    """Return the sum of two costs as decimal text; an unknown one adds nothing."""
    if more is None:
        return former
    if former is None:
        return more
    return format(Decimal(former) + Decimal(more), "f")


def use_pool(
    connection: sqlite3.Connection, package: str, version: str, *, size: int, sessions: int
) -> None:
    """Change the counters of the pool and, with `sessions`, of a version."""
    connection.execute(
        "UPDATE pool SET used_bytes = used_bytes + ?, sessions = sessions + ?", (size, sessions)
    )
    if sessions:
        count_version(connection, package, version, sessions)


def count_version(connection: sqlite3.Connection, package: str, version: str, change: int) -> None:
    """Change how many sessions a version has; a row at zero goes."""
    connection.execute(
        "INSERT INTO version_sessions (package, version, sessions) VALUES (?, ?, ?) "
        "ON CONFLICT (package, version) DO UPDATE SET sessions = sessions + excluded.sessions",
        (package, version, change),
    )
    if change < 0:
        connection.execute(
            "DELETE FROM version_sessions WHERE package = ? AND version = ? AND sessions <= 0",
            (package, version),
        )
