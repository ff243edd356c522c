"""What the serving process and the litellm process say to each other, over one socket.

Frames are a length of four bytes and a msgpack message. Each call has credit for so many parts;
the reader of the answer grants more as it takes them, so that a slow reader slows only its call.
Keys travel here and in no environment, argument or log.
"""

import asyncio
from typing import Any, Final

import msgspec

from bulkhead_runtime.models.errors import ModelErrorKind
from bulkhead_runtime.models.port import FinishReason

MAX_FRAME_BYTES: Final = 16_777_216
CREDIT: Final = 64
"""Parts of one call that may be under way unread."""

_LENGTH_BYTES: Final = 4


class Start(msgspec.Struct, tag="start", frozen=True):
    """Begin a call: `body` is an OpenAI chat completion, `model` litellm's name for the model."""

    id: int
    model: str
    body: dict[str, Any]
    seconds: float
    key: str | None = None
    base_url: str | None = None


class Cancel(msgspec.Struct, tag="cancel", frozen=True):
    """End a call whose answer nobody waits for."""

    id: int


class Grant(msgspec.Struct, tag="grant", frozen=True):
    """Allow a call so many parts more."""

    id: int
    parts: int


class Ping(msgspec.Struct, tag="ping", frozen=True):
    """Ask whether the process still turns its loop."""


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """litellm is imported; calls can begin."""


class Pong(msgspec.Struct, tag="pong", frozen=True):
    """The answer to a ping."""


class Text(msgspec.Struct, tag="text", frozen=True):
    """A piece of the answer."""

    id: int
    text: str


class Called(msgspec.Struct, tag="called", frozen=True):
    """A tool call, complete."""

    id: int
    call_id: str
    name: str
    arguments: str


class Ended(msgspec.Struct, tag="ended", frozen=True):
    """The answer is whole; tokens are None where the provider did not count."""

    id: int
    reason: FinishReason
    model: str
    input_tokens: int | None
    output_tokens: int | None


class Failed(msgspec.Struct, tag="failed", frozen=True):
    """The call failed; `said` are the provider's words, not yet redacted.

    `accepted` tells that the provider had begun to answer.
    """

    id: int
    kind: ModelErrorKind
    said: str
    status: int | None
    retry_after: float | None = None
    accepted: bool = False


ToChild = Start | Cancel | Grant | Ping
OfCall = Text | Called | Ended | Failed
FromChild = Ready | Pong | Text | Called | Ended | Failed

_encoder: Final = msgspec.msgpack.Encoder()


def frame(message: ToChild | FromChild) -> bytes:
    """Return a message as its frame; raise `ValueError` for one that is too large."""
    data = _encoder.encode(message)
    if len(data) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {len(data)} bytes is larger than {MAX_FRAME_BYTES}")
    return len(data).to_bytes(_LENGTH_BYTES) + data


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """Return the next frame's content, None when the other side is gone or speaks nonsense."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
        return await reader.readexactly(length) if length <= MAX_FRAME_BYTES else None
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
