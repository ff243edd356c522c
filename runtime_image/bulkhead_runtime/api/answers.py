"""Sends the answer of an agent or a model in the shape of an OpenAI API, whole or as a stream.

The shapes differ, the ways do not: until the first byte a failure is a status, after it the last
event of the stream; whoever leaves has its work cancelled.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from bulkhead_runtime.api.events import KeepAlive
from bulkhead_runtime.api.exchange import ClientGoneError, Exchange
from bulkhead_runtime.api.problems import answerable
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.execution import Event, Token, UsageTotal
from bulkhead_runtime.kernel.turns import TurnResult
from bulkhead_runtime.models.port import Finished, Part, TextDelta, ToolCall, Usage


@dataclass(slots=True)
class Ending:
    """How an answer ended; `text` and `calls` are all of it."""

    finish_reason: str = "stop"
    usage: UsageTotal = field(default_factory=UsageTotal)
    text: str = ""
    calls: tuple[ToolCall, ...] = ()


class Format(Protocol):
    """Turns an answer into bytes; one object formats one answer under one id."""

    def begin(self) -> bytes:
        """Return the first events of a stream."""
        ...

    def text(self, text: str) -> bytes:
        """Return events that continue the text."""
        ...

    def call(self, call: ToolCall) -> bytes:
        """Return events of a whole tool call."""
        ...

    def end(self, ending: Ending) -> bytes:
        """Return the last events of a stream."""
        ...

    def failed(self, problem: Problem) -> bytes:
        """Return the last events of a stream that failed."""
        ...

    def whole(self, ending: Ending) -> bytes:
        """Return the answer as one document."""
        ...


class Listener(Protocol):
    """Hears an answer while it is made."""

    async def begin(self) -> None:
        """Hear that the answer is about to come."""
        ...

    async def text(self, text: str) -> None:
        """Hear text that continues the answer."""
        ...

    async def call(self, call: ToolCall) -> None:
        """Hear a whole tool call."""
        ...


Work = Callable[[Listener], Awaitable[Ending]]


async def send(exchange: Exchange, answer: Format, work: Work, *, stream: bool) -> None:
    """Do the work and send its answer; raise what it raises while nothing was sent."""
    if stream:
        await _stream(exchange, answer, work)
        return
    ending = await exchange.until_gone(work(_Deaf()))
    await exchange.respond(200, answer.whole(ending), headers=None)


def replayed(answer: Format, ending: Ending) -> bytes:
    """Return all events of a stream that has ended, to be sent at once."""
    frames = [answer.begin()]
    if ending.text:
        frames.append(answer.text(ending.text))
    frames += [answer.call(call) for call in ending.calls]
    frames.append(answer.end(ending))
    return b"".join(frames)


async def agent_answer(
    listener: Listener, run: Callable[[Callable[[Event], Awaitable[None]]], Awaitable[TurnResult]]
) -> Ending:
    """Run a turn of an agent and let the listener hear it."""

    async def emit(event: Event) -> None:
        if isinstance(event, Token):
            await listener.text(event.text)
        else:
            await listener.begin()

    result = await run(emit)
    return Ending(result.finish_reason, result.usage, result.answer)


async def model_answer(
    listener: Listener, run: Callable[[Callable[[Part], Awaitable[None]]], Awaitable[object]]
) -> Ending:
    """Call a model and let the listener hear it."""
    ending = Ending()
    texts: list[str] = []
    calls: list[ToolCall] = []
    begun = False

    async def take(part: Part) -> None:
        nonlocal begun
        if not begun:
            begun = True
            await listener.begin()
        match part:
            case TextDelta(text):
                texts.append(text)
                await listener.text(text)
            case ToolCall():
                calls.append(part)
                await listener.call(part)
            case Usage():
                ending.usage.add(part)
            case Finished(reason, _):
                ending.finish_reason = reason

    await run(take)
    ending.text, ending.calls = "".join(texts), tuple(calls)
    return ending


class _Deaf:
    """Hears nothing: the answer is sent when it is whole."""

    async def begin(self) -> None:
        """Hear nothing."""

    async def text(self, text: str) -> None:
        """Hear nothing."""

    async def call(self, call: ToolCall) -> None:
        """Hear nothing."""


class _Writer:
    """Writes events of a stream as they come."""

    def __init__(self, exchange: Exchange, answer: Format, keep_alive: KeepAlive) -> None:
        self._exchange = exchange
        self._answer = answer
        self._keep_alive = keep_alive

    async def begin(self) -> None:
        """Begin the stream."""
        self._keep_alive.touch()
        await self._exchange.start_events()
        await self._exchange.write(self._answer.begin())

    async def text(self, text: str) -> None:
        """Write text."""
        self._keep_alive.touch()
        await self._exchange.write(self._answer.text(text))

    async def call(self, call: ToolCall) -> None:
        """Write a tool call."""
        self._keep_alive.touch()
        await self._exchange.write(self._answer.call(call))


async def _stream(exchange: Exchange, answer: Format, work: Work) -> None:
    with KeepAlive(exchange) as keep_alive:
        try:
            ending = await exchange.until_gone(work(_Writer(exchange, answer, keep_alive)))
        except Exception as error:  # noqa: BLE001 (ends in an answer or in the stream)
            await end_failed(exchange, error, answer)
            return
        await exchange.write(answer.end(ending))
        await exchange.finish()


async def end_failed(exchange: Exchange, error: Exception, answer: Format) -> None:
    """Say in the stream what went wrong; before it began, raise it."""
    if not exchange.started or isinstance(error, ClientGoneError):
        raise error
    await exchange.write(answer.failed(answerable(error, exchange.trace)))
    await exchange.finish()
