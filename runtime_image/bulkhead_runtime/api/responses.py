"""POST /v1/responses, OpenAI's newer API, after the Open Responses specification.

`model` names an agent, or a model as PROVIDER/MODEL with tools that the client runs. What an agent
answers is stored as a turn of a session unless `store` is false or the input brings what sessions
do not keep: a conversation of its own, or images. `previous_response_id` goes on with that session.
Direct models store nothing.
"""

import re
from functools import partial
from http import HTTPStatus
from typing import Final

from bulkhead_runtime.api import answers, idempotency
from bulkhead_runtime.api.answers import Ending, Listener, Work, agent_answer, model_answer
from bulkhead_runtime.api.asked_of_agents import (
    messages_for_agent,
    options_for_agent,
    refuse_for_agents,
)
from bulkhead_runtime.api.chat_body import DEFAULT_OUTPUT_TOKENS, tool_specs
from bulkhead_runtime.api.exchange import Exchange
from bulkhead_runtime.api.responses_body import ResponseBody, conversation, options, read
from bulkhead_runtime.api.responses_format import ResponseFormat
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.execution import Emit, Event, Started
from bulkhead_runtime.kernel.requests import (
    Caller,
    DirectRequest,
    StatelessRequest,
    TurnRequest,
)
from bulkhead_runtime.kernel.turns import TurnResult
from bulkhead_runtime.models.port import ModelMessage, ModelRequest
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.port import PoolBounds

_SESSION_PREFIX: Final = "ses_"
_RESPONSE_ID: Final = re.compile(r"resp_(?P<session>[0-9a-f]{32})_(?P<turn>[0-9]{1,9})")


async def create(exchange: Exchange, runtime: Runtime) -> None:
    """Answer one response."""
    raw = await exchange.read_json(runtime.holder.require().max_body_bytes)
    body = read(raw)
    messages = conversation(body)
    answer = ResponseFormat(body)
    if "/" in body.model:
        work = _model_work(runtime, body, messages)
    else:
        refuse_for_agents(body, messages, "input")
        if body.store is not False and all(map(_can_be_kept, messages)):
            work = await _turn_work(exchange, runtime, body, messages, answer)
        else:
            work = _stateless_work(runtime, body, messages)
    await answers.send(exchange, raw, answer, work, stream=body.stream is True)


def _model_work(runtime: Runtime, body: ResponseBody, messages: tuple[ModelMessage, ...]) -> Work:
    if body.previous_response_id is not None:
        raise _not_continuable("what a model answered without an agent is not stored")
    model_request = ModelRequest(
        model=body.model,
        messages=messages,
        max_output_tokens=body.max_output_tokens or DEFAULT_OUTPUT_TOKENS,
        deadline=0.0,
        tools=tool_specs(body.tools or ()),
        temperature=body.temperature,
        options=options(body),
    )

    async def work(listener: Listener, ending: Ending, caller: Caller) -> None:
        request = DirectRequest(model_request, caller)
        call = partial(runtime.direct.call, request, asking=listener.asking)
        await model_answer(listener, ending, call)

    return work


def _stateless_work(
    runtime: Runtime, body: ResponseBody, messages: tuple[ModelMessage, ...]
) -> Work:
    if body.previous_response_id is not None:
        raise _not_continuable("the input may only have messages of the role `user`, as text")

    async def work(listener: Listener, ending: Ending, caller: Caller) -> None:
        request = StatelessRequest(
            body.model,
            messages_for_agent(messages),
            caller,
            max_output_tokens=body.max_output_tokens,
            temperature=body.temperature,
            options=options_for_agent(options(body)),
        )
        await agent_answer(listener, ending, partial(runtime.turns.answer, request))

    return work


async def _turn_work(
    exchange: Exchange,
    runtime: Runtime,
    body: ResponseBody,
    messages: tuple[ModelMessage, ...],
    answer: ResponseFormat,
) -> Work:
    session_id, number = await _continued(exchange, runtime, body.previous_response_id)
    metadata = (body.metadata or {}) if session_id is None else {}

    async def work(listener: Listener, ending: Ending, caller: Caller) -> None:
        message = "\n".join(message.content for message in messages)
        request = TurnRequest(
            body.model,
            message,
            caller,
            session_id,
            metadata,
            max_output_tokens=body.max_output_tokens,
            temperature=body.temperature,
            options=options_for_agent(options(body)),
        )

        async def run(emit: Emit) -> TurnResult:
            async def heard(event: Event) -> None:
                if isinstance(event, Started) and event.session_id is not None:
                    if event.turn != number:
                        raise _not_the_last()
                    answer.stored_as(_response_id(event.session_id, number))
                await emit(event)

            return await runtime.turns.execute(request, heard)

        await agent_answer(listener, ending, run)

    return work


async def _continued(
    exchange: Exchange, runtime: Runtime, previous: str | None
) -> tuple[str | None, int]:
    """Return the session that a response continues, None for a new one, and the turn's number."""
    if previous is None:
        return None, 1
    match = _RESPONSE_ID.fullmatch(previous)
    if match is None:
        raise _not_continuable("it is not the id of a stored response of an agent")
    session_id = f"{_SESSION_PREFIX}{match['session']}"
    bounds = PoolBounds.configured(runtime.holder.require().source)
    try:
        owner = exchange.principal.whose_sessions
        session = await runtime.store.session(session_id, owner, bounds)
    except Problem as problem:
        if problem.status == HTTPStatus.NOT_FOUND:
            raise _not_continuable("its session is not there any more") from problem
        raise
    turn = int(match["turn"])
    # Who asks again under a key is told the answer because of which it is not the last any more.
    if session.turns != turn and not idempotency.is_asked_for(exchange):
        raise _not_the_last()
    return session_id, turn + 1


def _response_id(session_id: str, number: int) -> str:
    return f"resp_{session_id.removeprefix(_SESSION_PREFIX)}_{number}"


def _can_be_kept(message: ModelMessage) -> bool:
    """Tell whether a session keeps all of a message that a client sends."""
    return message.role == "user" and message.raw_content is None


def _not_the_last() -> Problem:
    return _not_continuable("only the last response of a session can be continued")


def _not_continuable(reason: str) -> Problem:
    return Problem(
        400,
        "previous_response_not_found",
        f"`previous_response_id` cannot be continued: {reason}.",
        field="previous_response_id",
    )
