"""Sends the answer of an agent or a model in the shape of an OpenAI API, whole or as a stream.

The shapes differ, the ways do not: until the first byte a failure is a status, after it the last
event of the stream; whoever leaves has its work cancelled.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from bulkhead_runtime.api import idempotency
from bulkhead_runtime.api.events import KeepAlive
from bulkhead_runtime.api.exchange import ClientGoneError, Exchange
from bulkhead_runtime.api.problems import answerable
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.execution import Emit, Event, Token, UsageTotal
from bulkhead_runtime.kernel.requests import Caller
from bulkhead_runtime.kernel.turns import TurnResult
from bulkhead_runtime.models.port import Finished, Part, TextDelta, ToolCall, Usage
from bulkhead_runtime.store.spending import RepeatedAnswer


@dataclass(slots=True)
class Ending:
    """How an answer ended; `texts` and `calls` are all of it, `warnings` are about budgets."""

    finish_reason: str = "stop"
    usage: UsageTotal = field(default_factory=UsageTotal)
    texts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Return the whole text."""
        return "".join(self.texts)

    def follow(self, result: TurnResult) -> None:
        """Take over how an agent's turn ended."""
        self.finish_reason, self.usage = result.finish_reason, result.usage
        self.texts, self.warnings = [result.answer], result.warnings


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

    def again(self) -> "Format":
        """Return a format of the same answer that has not said anything yet."""
        ...


class Listener(Protocol):
    """Hears an answer while it is made."""

    def asking(self) -> None:
        """Hear that nothing but the model is waited for any more."""
        ...

    async def begin(self, warnings: tuple[str, ...] = ()) -> None:
        """Hear that the answer is about to come."""
        ...

    async def text(self, text: str) -> None:
        """Hear text that continues the answer."""
        ...

    async def call(self, call: ToolCall) -> None:
        """Hear a whole tool call."""
        ...


Work = Callable[[Listener, Ending, Caller], Awaitable[None]]
"""Makes an answer for a caller: the listener hears it, the ending is filled in."""

Emitting = Callable[[Emit], Awaitable[TurnResult]]
Taking = Callable[[Callable[[Part], Awaitable[None]]], Awaitable[object]]


async def send(exchange: Exchange, raw: bytes, answer: Format, work: Work, *, stream: bool) -> None:
    """Do the work that a body asks for and send its answer; raise while nothing was sent."""
    ending = Ending()
    kept = partial(_kept, answer, ending, stream)
    caller = exchange.caller(idempotency.repeatable(exchange, raw, kept))
    if stream:
        await _stream(exchange, answer, ending, lambda listener: work(listener, ending, caller))
        return
    await exchange.until_gone(work(_Deaf(), ending, caller))
    note_warnings(exchange, ending.warnings)
    await exchange.respond(200, answer.whole(ending), headers=None)


async def agent_answer(listener: Listener, ending: Ending, run: Emitting) -> None:
    """Run a turn of an agent and let the listener hear it."""

    async def emit(event: Event) -> None:
        if isinstance(event, Token):
            await listener.text(event.text)
        else:
            await listener.begin(event.warnings)

    ending.follow(await run(emit))


async def model_answer(listener: Listener, ending: Ending, run: Taking) -> None:
    """Call a model and let the listener hear it."""
    begun = False

    async def take(part: Part) -> None:
        nonlocal begun
        if not begun:
            begun = True
            await listener.begin()
        match part:
            case TextDelta(text):
                ending.texts.append(text)
                await listener.text(text)
            case ToolCall():
                ending.calls.append(part)
                await listener.call(part)
            case Usage():
                ending.usage.add(part)
            case Finished(reason, _):
                ending.finish_reason = reason

    await run(take)


def note_warnings(exchange: Exchange, warnings: tuple[str, ...]) -> None:
    """Tell the client in a header what its budgets warn of."""
    exchange.note(
        *((b"bulkhead-budget-warning", text.encode("ascii", "replace")) for text in warnings)
    )


def _kept(answer: Format, ending: Ending, stream: bool, result: object) -> RepeatedAnswer:
    """Return all that the client gets; for a stream every event, its text in one."""
    if isinstance(result, TurnResult):
        ending.follow(result)
    again = answer.again()
    if not stream:
        return idempotency.kept(again.whole(ending), stream=False)
    frames = [again.begin()]
    if ending.text:
        frames.append(again.text(ending.text))
    frames += [again.call(call) for call in ending.calls]
    frames.append(again.end(ending))
    return idempotency.kept(b"".join(frames), stream=True)


class _Deaf:
    """Hears nothing: the answer is sent when it is whole."""

    def asking(self) -> None:
        """Hear nothing."""

    async def begin(self, warnings: tuple[str, ...] = ()) -> None:
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

    def asking(self) -> None:
        """Begin the stream without an answer if that takes long."""
        self._keep_alive.begin_by(self.begin)

    async def begin(self, warnings: tuple[str, ...] = ()) -> None:
        """Begin the stream, once."""
        if self._exchange.started:
            return
        self._keep_alive.touch()
        note_warnings(self._exchange, warnings)
        await self._exchange.start_events(self._answer.begin())

    async def text(self, text: str) -> None:
        """Write text."""
        self._keep_alive.touch()
        await self._exchange.write(self._answer.text(text))

    async def call(self, call: ToolCall) -> None:
        """Write a tool call."""
        self._keep_alive.touch()
        await self._exchange.write(self._answer.call(call))


async def _stream(
    exchange: Exchange,
    answer: Format,
    ending: Ending,
    work: Callable[[Listener], Awaitable[None]],
) -> None:
    with KeepAlive(exchange) as keep_alive:
        try:
            await exchange.until_gone(work(_Writer(exchange, answer, keep_alive)))
        except Exception as error:  # noqa: BLE001 (ends in an answer or in the stream)
            await end_failed(exchange, error, answer)
            return
        await exchange.finish(answer.end(ending))


async def end_failed(exchange: Exchange, error: Exception, answer: Format) -> None:
    """Say in the stream what went wrong; before it began, raise it."""
    if not exchange.started or isinstance(error, ClientGoneError):
        raise error
    await exchange.finish(answer.failed(answerable(error, exchange)))
