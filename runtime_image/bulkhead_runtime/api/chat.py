"""POST /v1/chat/completions, the API that OpenAI's clients speak.

`model` names an agent, which then answers with its instructions and tools and remembers nothing,
or a model as PROVIDER/MODEL. The latter streams byte for byte where the provider can and no tools
are involved.
"""

from typing import Any

import msgspec
import orjson

from bulkhead_runtime.api import chat_format
from bulkhead_runtime.api.bodies import decode
from bulkhead_runtime.api.chat_body import (
    DEFAULT_OUTPUT_TOKENS,
    ChatBody,
    conversation,
    options,
    tool_specs,
)
from bulkhead_runtime.api.chat_format import ChatFormat
from bulkhead_runtime.api.events import KeepAlive
from bulkhead_runtime.api.exchange import ClientGoneError, Exchange
from bulkhead_runtime.api.problems import answerable, openai_error
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.direct import PassthroughRequest
from bulkhead_runtime.kernel.execution import Event, Token, UsageTotal, discard
from bulkhead_runtime.kernel.turns import StatelessRequest
from bulkhead_runtime.models.port import (
    Finished,
    ModelMessage,
    ModelRequest,
    Part,
    TextDelta,
    ToolCall,
    Usage,
)
from bulkhead_runtime.runtime import Runtime

_decoder = msgspec.json.Decoder(ChatBody)


async def complete(exchange: Exchange, runtime: Runtime) -> None:
    """Answer one chat completion."""
    raw = await exchange.read_json(runtime.holder.require().max_body_bytes)
    body = decode(_decoder, raw)
    messages = conversation(body)
    if "/" not in body.model:
        answer = _agent_stream if body.stream else _agent_completion
        await answer(exchange, runtime, body, _agent_request(exchange, body, messages))
    elif body.stream and not body.tools and runtime.direct.can_pass_through(body.model):
        await _pass_through(exchange, runtime, body, raw, messages)
    elif body.stream:
        await _model_stream(exchange, runtime, body, _model_request(body, messages))
    else:
        await _model_completion(exchange, runtime, body, _model_request(body, messages))


def _agent_request(
    exchange: Exchange, body: ChatBody, messages: tuple[ModelMessage, ...]
) -> StatelessRequest:
    if body.tools:
        raise Problem(
            422,
            "tools_not_allowed",
            "`tools` cannot be given for an agent, which has its own. Leave them out, or address "
            "a model as PROVIDER/MODEL.",
            field="tools",
        )
    if messages[-1].role != "user":
        raise Problem(
            422,
            "invalid_body",
            "The last of `messages` must have the role `user` when an agent answers.",
            field="messages",
        )
    return StatelessRequest(
        body.model, messages, exchange.trace, body.output_limit, body.temperature
    )


def _model_request(body: ChatBody, messages: tuple[ModelMessage, ...]) -> ModelRequest:
    return ModelRequest(
        model=body.model,
        messages=messages,
        max_output_tokens=body.output_limit or DEFAULT_OUTPUT_TOKENS,
        deadline=0.0,
        tools=tool_specs(body),
        temperature=body.temperature,
        options=options(body),
    )


async def _agent_completion(
    exchange: Exchange, runtime: Runtime, body: ChatBody, request: StatelessRequest
) -> None:
    result = await exchange.until_gone(runtime.turns.answer(request, discard))
    answer = ChatFormat(body.model).completion(
        result.answer, [], result.finish_reason, _usage(result.usage)
    )
    await exchange.respond(200, answer, headers=None)


async def _agent_stream(
    exchange: Exchange, runtime: Runtime, body: ChatBody, request: StatelessRequest
) -> None:
    answer = ChatFormat(body.model)
    with KeepAlive(exchange) as keep_alive:

        async def emit(event: Event) -> None:
            keep_alive.touch()
            if isinstance(event, Token):
                await exchange.write(answer.text(event.text))
            else:
                await exchange.start_events()
                await exchange.write(answer.role())

        try:
            result = await exchange.until_gone(runtime.turns.answer(request, emit))
        except Exception as error:  # noqa: BLE001 (ends in an answer or in the stream)
            await _end_failed(exchange, error)
            return
        usage = _usage(result.usage) if body.include_usage else None
        await exchange.write(answer.end(result.finish_reason, usage))
        await exchange.finish()


async def _model_completion(
    exchange: Exchange, runtime: Runtime, body: ChatBody, request: ModelRequest
) -> None:
    collected = _Collected()
    await exchange.until_gone(runtime.direct.call(request, exchange.trace, collected.take))
    answer = ChatFormat(body.model).completion(
        "".join(collected.texts),
        collected.calls,
        collected.finish_reason,
        _usage(collected.usage),
    )
    await exchange.respond(200, answer, headers=None)


async def _model_stream(
    exchange: Exchange, runtime: Runtime, body: ChatBody, request: ModelRequest
) -> None:
    answer = ChatFormat(body.model)
    collected = _Collected()
    with KeepAlive(exchange) as keep_alive:

        async def take(part: Part) -> None:
            keep_alive.touch()
            if not exchange.started:
                await exchange.start_events()
                await exchange.write(answer.role())
            if isinstance(part, TextDelta):
                await exchange.write(answer.text(part.text))
            else:
                await collected.take(part)
                if isinstance(part, ToolCall):
                    await exchange.write(answer.call(len(collected.calls) - 1, part))

        try:
            await exchange.until_gone(runtime.direct.call(request, exchange.trace, take))
        except Exception as error:  # noqa: BLE001 (ends in an answer or in the stream)
            await _end_failed(exchange, error)
            return
        usage = _usage(collected.usage) if body.include_usage else None
        await exchange.write(answer.end(collected.finish_reason, usage))
        await exchange.finish()


async def _pass_through(
    exchange: Exchange,
    runtime: Runtime,
    body: ChatBody,
    raw: bytes,
    messages: tuple[ModelMessage, ...],
) -> None:
    request = PassthroughRequest(
        model=body.model,
        body=_bounded(orjson.loads(raw), body),
        answer_id=chat_format.new_id(),
        include_usage=body.include_usage,
        characters=max(len(message.content) for message in messages),
        trace=exchange.trace,
    )
    with KeepAlive(exchange) as keep_alive:

        async def write(frames: bytes) -> None:
            keep_alive.touch()
            if not exchange.started:
                await exchange.start_events()
            await exchange.write(frames)

        try:
            await exchange.until_gone(runtime.direct.pass_through(request, write))
        except Exception as error:  # noqa: BLE001 (ends in an answer or in the stream)
            await _end_failed(exchange, error)
            return
        await exchange.finish()


def _bounded(raw: dict[str, Any], body: ChatBody) -> dict[str, Any]:
    """Return the client's body with a bound on the output, as every upstream call carries one."""
    if body.output_limit is None:
        raw["max_tokens"] = DEFAULT_OUTPUT_TOKENS
    return raw


async def _end_failed(exchange: Exchange, error: Exception) -> None:
    """Say in the stream what went wrong; before it began, with a status."""
    if not exchange.started or isinstance(error, ClientGoneError):
        raise error
    problem = answerable(error, exchange.trace)
    await exchange.write(chat_format.error_frame(openai_error(problem)))
    await exchange.finish()


def _usage(usage: UsageTotal) -> dict[str, int]:
    return chat_format.usage_payload(usage.input_tokens, usage.output_tokens)


class _Collected:
    """The parts of an answer that is sent as a whole."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.calls: list[ToolCall] = []
        self.usage = UsageTotal()
        self.finish_reason = "stop"

    async def take(self, part: Part) -> None:
        """Keep one part."""
        match part:
            case TextDelta(text):
                self.texts.append(text)
            case ToolCall():
                self.calls.append(part)
            case Usage():
                self.usage.add(part)
            case Finished(reason, _):
                self.finish_reason = reason
