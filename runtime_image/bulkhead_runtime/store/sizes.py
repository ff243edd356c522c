"""How many bytes of the pool records take, the same in every store."""

from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.store.port import NewSession

SESSION_OVERHEAD_BYTES = 512
MESSAGE_OVERHEAD_BYTES = 64
"""What a row takes beyond its text: keys, counters, index entries."""


def message_bytes(message: ModelMessage) -> int:
    """Return what a message takes."""
    size = MESSAGE_OVERHEAD_BYTES + len(message.content.encode())
    for call in message.tool_calls:
        size += len(call.arguments.encode()) + len(call.name) + len(call.id)
    return size


def session_bytes(new: NewSession) -> int:
    """Return what a session without messages takes."""
    size = SESSION_OVERHEAD_BYTES + len(new.title.encode())
    for key, value in new.metadata.items():
        size += len(key.encode()) + len(value.encode())
    return size
