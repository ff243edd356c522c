"""The request that both gateways take, and the stream that both answer with."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Protocol

from pydantic import BaseModel


class Message(BaseModel):
    """One message of a conversation."""

    role: str
    content: str


class ChatRequest(BaseModel):
    """The part of OpenAI's request that the benchmark uses."""

    model: str
    messages: list[Message]
    stream: bool = False

    def conversation(self) -> list[dict[str, Any]]:
        """Return the messages as the client libraries take them."""
        return [message.model_dump() for message in self.messages]


class Chunk(Protocol):
    """What both client libraries yield."""

    def model_dump_json(self, *, exclude_none: bool) -> str:
        """Return the chunk as JSON."""


async def as_events(chunks: AsyncIterable[Chunk]) -> AsyncIterator[str]:
    """Yield the chunks as server-sent events."""
    async for chunk in chunks:
        yield f"data: {chunk.model_dump_json(exclude_none=True)}\n\n"
    yield "data: [DONE]\n\n"
