"""One call of litellm, inside its process: from OpenAI's request to the parts of the answer.

litellm's objects end here; what leaves are messages of our own. litellm is handed in, because
nothing but its own process may import it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from bulkhead_runtime.models.errors import ModelErrorKind
from bulkhead_runtime.models.failures import retry_after
from bulkhead_runtime.models.litellm_lane import wire
from bulkhead_runtime.models.port import FinishReason

MAX_ANSWER_BYTES: Final = 4_194_304
MAX_TOOL_CALLS: Final = 64
MAX_SAID_CHARACTERS: Final = 2_000

_KINDS: Final[dict[str, ModelErrorKind]] = {
    "AuthenticationError": "unauthorized",
    "PermissionDeniedError": "unauthorized",
    "NotFoundError": "unknown_model",
    "RateLimitError": "rate_limited",
    "Timeout": "timeout",
    "BadRequestError": "invalid_request",
    "ContextWindowExceededError": "invalid_request",
    "UnprocessableEntityError": "invalid_request",
    "UnsupportedParamsError": "invalid_request",
    "ContentPolicyViolationError": "refused",
}

_REASONS: Final[dict[str | None, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}

Send = Callable[[wire.FromChild], Awaitable[None]]


class Call:
    """Streams one answer, never more parts ahead than it was granted."""

    def __init__(self, litellm: Any, start: wire.Start, send: Send) -> None:
        self._litellm = litellm
        self._start = start
        self._send = send
        self._credit = asyncio.Semaphore(wire.CREDIT)
        self._bytes = 0
        self._pieces: dict[int, list[str]] = {}
        self._named: dict[int, tuple[str, str]] = {}
        self._reason: FinishReason = "stop"
        self._model = ""
        self._accepted = False
        self._usage: tuple[int | None, int | None] = (None, None)

    def grant(self, parts: int) -> None:
        """Allow so many parts more."""
        for _ in range(min(parts, wire.CREDIT)):
            self._credit.release()

    async def run(self) -> None:
        """Send the parts, then the end or the failure."""
        try:
            await self._stream()
        except Exception as error:  # noqa: BLE001 (litellm raises whatever a provider makes it)
            await self._send(self._failure(error))

    async def _stream(self) -> None:
        stream = await self._litellm.acompletion(
            **self._start.body,
            model=_litellm_name(self._start.model, self._litellm.provider_list),
            api_key=self._start.key,
            api_base=self._start.base_url,
            timeout=self._start.seconds,
            num_retries=0,
            max_retries=0,
            # Tools would else go through litellm's own MCP gateway, which is neither installed
            # nor ours to offer: a caller's tool could name a server for it to call.
            _skip_mcp_handler=True,
        )
        self._accepted = True
        try:
            async for chunk in stream:
                await self._take(chunk)
        finally:
            await _close(stream)
        if not _is_whole(stream):
            await self._send(wire.Failed(self._start.id, "unavailable", "", None, accepted=True))
            return
        for index, (identifier, name) in self._named.items():
            arguments = "".join(self._pieces[index])
            await self._part(wire.Called(self._start.id, identifier, name, arguments))
        await self._send(wire.Ended(self._start.id, self._reason, self._model, *self._usage))

    async def _take(self, chunk: Any) -> None:
        self._model = str(getattr(chunk, "model", None) or self._model)
        usage = getattr(chunk, "usage", None)
        if usage is not None:
            self._usage = (usage.prompt_tokens, usage.completion_tokens)
        if not chunk.choices:
            return
        choice = chunk.choices[0]
        self._reason = _REASONS.get(choice.finish_reason, self._reason)
        for piece in choice.delta.tool_calls or ():
            self._continue_call(piece)
        text = choice.delta.content
        if text:
            self._count(text)
            await self._part(wire.Text(self._start.id, text))

    def _continue_call(self, piece: Any) -> None:
        index = int(piece.index or 0)
        if index not in self._named and len(self._named) >= MAX_TOOL_CALLS:
            raise ValueError("too many tool calls")
        identifier, name = self._named.get(index, ("", ""))
        self._named[index] = (piece.id or identifier, piece.function.name or name)
        arguments = piece.function.arguments or ""
        self._count(arguments)
        self._pieces.setdefault(index, []).append(arguments)

    def _count(self, text: str) -> None:
        self._bytes += len(text)
        if self._bytes > MAX_ANSWER_BYTES:
            raise ValueError("the answer is too large")

    async def _part(self, part: wire.OfCall) -> None:
        await self._credit.acquire()
        await self._send(part)

    def _failure(self, error: Exception) -> wire.Failed:
        status = getattr(error, "status_code", None)
        return wire.Failed(
            id=self._start.id,
            kind=_KINDS.get(type(error).__name__, "unavailable"),
            said=str(error)[:MAX_SAID_CHARACTERS],
            status=status if isinstance(status, int) else None,
            retry_after=_retry_after(error),
            accepted=self._accepted,
        )


def _litellm_name(model: str, known: Iterable[str]) -> str:
    """Return litellm's name for PROVIDER/MODEL: where ours has a dash, its may have an underscore.

    Our providers' names are DNS labels, most of litellm's of several words are none.
    """
    provider, _, name = model.partition("/")
    return model if provider in known else f"{provider.replace('-', '_')}/{name}"


def _retry_after(error: Exception) -> float | None:
    """Return the seconds that the provider asks to wait, where litellm kept its answer."""
    headers = getattr(error, "litellm_response_headers", None)
    return retry_after(headers) if isinstance(headers, Mapping) else None


def _is_whole(stream: Any) -> bool:
    """Tell whether the provider said that its answer ended: litellm says "stop" of any other."""
    reasons = (stream.received_finish_reason, stream.intermittent_finish_reason)
    return any(reason is not None for reason in reasons)


async def _close(stream: Any) -> None:
    """Close the provider's connection where the wrapper offers a way to it."""
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()
