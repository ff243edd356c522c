"""Answers given again to the same question, for agents that ask for it.

Only a conversation's first question is answered from here: instructions and one message of plain
text. What follows depends on what a principal said before and on what tools found, and is never
kept. The key holds everything that the answer depends on, and the organization besides.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from typing import Final

import orjson

from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import (
    CacheScope,
    Finished,
    ModelCall,
    ModelRequest,
    Part,
    Spent,
    TextDelta,
    ToolCall,
    Usage,
)

MAX_BYTES: Final = 8 * 1024 * 1024
MAX_ANSWER_BYTES: Final = 256 * 1024
ENTRY_BYTES: Final = 1_024
"""What an entry takes besides its texts."""

PIECE_CHARACTERS: Final = 256
"""How much of a kept answer a stream brings at once."""

_NOTHING: Final = Usage(0, 0, Decimal(0))
_WHOLE: Final = frozenset({"stop", "tool_calls"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, whole."""

    text: str
    calls: tuple[ToolCall, ...]
    finished: Finished
    model: str

    @property
    def size(self) -> int:
        """Return about how many bytes keeping it takes."""
        calls = sum(len(call.name) + len(call.arguments) for call in self.calls)
        return ENTRY_BYTES + len(self.text.encode(errors="replace")) + calls

    def parts(self) -> list[Part]:
        """Return the parts of a stream that brings it again and took nothing."""
        starts = range(0, len(self.text), PIECE_CHARACTERS)
        texts = (TextDelta(self.text[start : start + PIECE_CHARACTERS]) for start in starts)
        return [*texts, *self.calls, _NOTHING, self.finished]


class ResponseCache:
    """Keeps answers within a bound of bytes, those longest unused leaving first."""

    def __init__(
        self, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.bytes = 0
        self.under_way: dict[bytes, asyncio.Future[Answer | None]] = {}
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[float, Answer]] = OrderedDict()

    def get(self, key: bytes) -> Answer | None:
        """Return an answer that has not expired."""
        found = self._entries.get(key)
        if found is None:
            return None
        expires, answer = found
        if self._clock() >= expires:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return answer

    def put(self, key: bytes, answer: Answer, seconds: int) -> None:
        """Keep an answer for so many seconds."""
        self._drop(key)
        self._entries[key] = (self._clock() + seconds, answer)
        self.bytes += answer.size
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        found = self._entries.pop(key, None)
        if found is not None:
            self.bytes -= found[1].size


class CachedCall:
    """Answers from the cache, else by a call; implements `port.ModelCall`.

    Of identical calls at once one is made; the others wait for its whole answer, and one of them
    goes on in its place if it fails.
    """

    def __init__(
        self, cache: ResponseCache, key: bytes, seconds: int, deadline: float, call: ModelCall
    ) -> None:
        self._cache = cache
        self._key = key
        self._seconds = seconds
        self._deadline = deadline
        self._call = call
        self._kept: Answer | None = None

    @property
    def model(self) -> str:
        """Return the PROVIDER/MODEL that answers, or did when the answer was kept."""
        return self._kept.model if self._kept is not None else self._call.model

    @property
    def spent(self) -> tuple[Spent, ...]:
        """Return what was taken: nothing, marked so, where the answer was kept."""
        if self._kept is not None:
            return (Spent(self._kept.model, _NOTHING, cached=True),)
        return self._call.spent

    async def stream(self) -> AsyncGenerator[Part, None]:
        """Yield the parts of the answer, once."""
        self._kept = await self._found()
        if self._kept is not None:
            for part in self._kept.parts():
                yield part
            return
        flight: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._cache.under_way[self._key] = flight
        recording = _Recording()
        try:
            async with aclosing(self._call.stream()) as parts:
                async for part in parts:
                    recording.take(part)
                    yield part
        finally:
            answer = recording.answer(self._call.model)
            if answer is not None:
                self._cache.put(self._key, answer, self._seconds)
            del self._cache.under_way[self._key]
            flight.set_result(answer)

    async def _found(self) -> Answer | None:
        """Return what is kept or will be when a call under way ends; None to make the call."""
        while True:
            answer = self._cache.get(self._key)
            flight = self._cache.under_way.get(self._key)
            if answer is not None or flight is None:
                return answer
            left = max(0.0, self._deadline - time.monotonic())
            await asyncio.wait((flight,), timeout=left)
            if not flight.done():
                raise ModelError("timeout", "The same question is being answered: try again.")
            answer = flight.result()
            if answer is not None:
                return answer


class _Recording:
    """Keeps what a stream brings, as long as it is small and ends well."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls: list[ToolCall] = []
        self._finished: Finished | None = None
        self._characters = 0

    def take(self, part: Part) -> None:
        match part:
            case TextDelta(text):
                self._characters += len(text)
                if self._characters <= MAX_ANSWER_BYTES:
                    self._texts.append(text)
            case ToolCall():
                self._calls.append(part)
            case Finished():
                self._finished = part
            case Usage():
                pass  # the answer that is given again takes nothing

    def answer(self, model: str) -> Answer | None:
        if self._finished is None or self._finished.reason not in _WHOLE:
            return None
        if self._characters > MAX_ANSWER_BYTES:
            return None
        answer = Answer("".join(self._texts), tuple(self._calls), self._finished, model)
        return answer if answer.size <= MAX_ANSWER_BYTES else None


def is_first_question(request: ModelRequest) -> bool:
    """Tell whether a request is instructions and one message of a user in plain text."""
    *before, last = request.messages
    return (
        last.role == "user"
        and all(message.role == "system" for message in before)
        and not any(message.raw_content for message in request.messages)
    )


def cache_key(request: ModelRequest, plan: tuple[str, ...], scope: CacheScope) -> bytes:
    """Return a digest of everything that the answer depends on."""
    content = (
        scope.parts,
        plan,
        [(message.role, message.content) for message in request.messages],
        [(tool.name, tool.description, dict(tool.parameters)) for tool in request.tools],
        request.max_output_tokens,
        request.temperature,
        request.options,
    )
    data = orjson.dumps(content, default=dict, option=orjson.OPT_SORT_KEYS)
    return blake2b(data, digest_size=32).digest()
