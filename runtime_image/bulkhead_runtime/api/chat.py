"""POST /v1/chat/completions, the API that OpenAI's clients speak.

`model` names an agent, which then answers with its instructions and tools and remembers nothing,
or a model as PROVIDER/MODEL. The latter streams byte for byte where the provider can and no tools
are involved.
"""

from collections.abc import Awaitable
from functools import partial

from bulkhead_runtime.api import answers, idempotency
from bulkhead_runtime.api.answers import Ending, Listener, Work, agent_answer, model_answer
from bulkhead_runtime.api.asked_of_agents import (
    messages_for_agent,
    options_for_agent,
    refuse_for_agents,
)
from bulkhead_runtime.api.chat_body import (
    DEFAULT_OUTPUT_TOKENS,
    ChatBody,
    body_of_bytes,
    conversation,
    options,
    read,
    tool_specs,
)
from bulkhead_runtime.api.chat_format import DONE, ChatFormat
from bulkhead_runtime.api.events import KeepAlive
from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.kernel.requests import (
    Caller,
    DirectRequest,
    PassthroughRequest,
    StatelessRequest,
)
from bulkhead_runtime.models.port import ModelMessage, ModelRequest
from bulkhead_runtime.runtime import Runtime


async def complete(exchange: Exchange, runtime: Runtime) -> None:
    """Answer one chat completion."""
    limit = runtime.holder.require().max_body_bytes
    # While the answer streams, nothing here holds on to the body.
    await _answered(exchange, runtime, await exchange.read_json(limit))


def _answered(exchange: Exchange, runtime: Runtime, raw: bytes) -> Awaitable[None]:
    """Return the answering of a body."""
    body = read(raw)
    messages = conversation(body)
    if "/" not in body.model:
        work = _agent_work(runtime, body, messages)
    elif _passes_through(exchange, runtime, body):
        answer = ChatFormat(body.model)
        request = PassthroughRequest(
            model=body.model,
            body=body_of_bytes(body, raw),
            answer_id=answer.id,
            include_usage=body.include_usage,
            messages=messages,
            max_output_tokens=body.output_limit or DEFAULT_OUTPUT_TOKENS,
            caller=exchange.caller(),
        )
        return _pass_through(exchange, runtime, request, answer)
    else:
        work = _model_work(runtime, body, messages)
    answer = ChatFormat(body.model, include_usage=body.include_usage)
    return answers.send(exchange, raw, answer, work, stream=body.stream is True)


def _passes_through(exchange: Exchange, runtime: Runtime, body: ChatBody) -> bool:
    """Tell whether bytes go through as they come, of which nothing could be told again."""
    if not body.stream or body.tools or idempotency.is_asked_for(exchange):
        return False
    return runtime.direct.can_pass_through(body.model)


def _agent_work(runtime: Runtime, body: ChatBody, messages: tuple[ModelMessage, ...]) -> Work:
    refuse_for_agents(body, messages, "messages")

    async def work(listener: Listener, ending: Ending, caller: Caller) -> None:
        request = StatelessRequest(
            body.model,
            messages_for_agent(messages),
            caller,
            max_output_tokens=body.output_limit,
            temperature=body.temperature,
            options=options_for_agent(options(body)),
        )
        await agent_answer(listener, ending, partial(runtime.turns.answer, request))

    return work


def _model_work(runtime: Runtime, body: ChatBody, messages: tuple[ModelMessage, ...]) -> Work:
    asked = model_request(body, messages)

    async def work(listener: Listener, ending: Ending, caller: Caller) -> None:
        request = DirectRequest(asked, caller)
        call = partial(runtime.direct.call, request, asking=listener.asking)
        await model_answer(listener, ending, call)

    return work


def model_request(body: ChatBody, messages: tuple[ModelMessage, ...]) -> ModelRequest:
    """Return the call of a model that a body asks for; its deadline is the kernel's to set."""
    return ModelRequest(
        model=body.model,
        messages=messages,
        max_output_tokens=body.output_limit or DEFAULT_OUTPUT_TOKENS,
        deadline=0.0,
        tools=tool_specs(tool.function for tool in body.tools or ()),
        temperature=body.temperature,
        options=options(body),
    )


async def _pass_through(
    exchange: Exchange, runtime: Runtime, request: PassthroughRequest, answer: ChatFormat
) -> None:
    with KeepAlive(exchange) as keep_alive:

        async def begin() -> None:
            if not exchange.started:
                await exchange.start_events()

        async def write(frames: bytes) -> None:
            keep_alive.touch()
            await begin()
            await exchange.write(frames, held=frames.endswith(DONE))

        try:
            asking = partial(keep_alive.begin_by, begin)
            await exchange.until_gone(runtime.direct.pass_through(request, write, asking))
        except Exception as error:  # noqa: BLE001 (ends in an answer or in the stream)
            await answers.end_failed(exchange, error, answer)
            return
        await exchange.finish()
