"""What a program does with OpenAI's own client; run in an environment of its own, see the test.

Each function is one conversation; main() runs them all and prints what became of each as JSON.
"""

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI

AGENT, MODEL = "assistant", "stub/words"
WEATHER = {
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def client(**options: Any) -> OpenAI:
    return OpenAI(**options)


def an_agent_completes_a_chat() -> None:
    made = client().chat.completions.create(
        model=AGENT, messages=[{"role": "user", "content": "What is 6 times 7?"}]
    )
    assert made.choices[0].message.content, made
    assert made.choices[0].finish_reason == "stop"
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens > 0


def a_system_message_is_taken() -> None:
    made = client().chat.completions.create(
        model=AGENT,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
        ],
    )
    assert made.choices[0].message.content


def an_agent_streams_a_chat_with_usage() -> None:
    stream = client().chat.completions.create(
        model=AGENT,
        messages=[{"role": "user", "content": "Hello"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0


def the_helper_follows_a_stream() -> None:
    with client().chat.completions.stream(
        model=MODEL, messages=[{"role": "user", "content": "Hello"}]
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds, kinds
    assert final.choices[0].message.content == "word0 word1 word2 word3 word4 "


def a_model_calls_a_tool_of_the_client() -> None:
    messages: list[Any] = [{"role": "user", "content": "Weather in Rome?"}]
    tools: list[Any] = [{"type": "function", "function": WEATHER}]
    first = client().chat.completions.create(model="stub/tools", messages=messages, tools=tools)
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls
    call: Any = message.tool_calls[0]
    assert call.function.name == "weather"
    json.loads(call.function.arguments)
    messages += [
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    second = client().chat.completions.create(model="stub/tools", messages=messages, tools=tools)
    assert second.choices[0].message.content


def a_tool_call_streams() -> None:
    tools: list[Any] = [{"type": "function", "function": WEATHER}]
    stream = client().chat.completions.create(
        model="stub/tools",
        messages=[{"role": "user", "content": "Weather in Rome?"}],
        tools=tools,
        stream=True,
    )
    chunks = [chunk for chunk in stream if chunk.choices]
    calls = [call for c in chunks for call in c.choices[0].delta.tool_calls or ()]
    assert calls[0].function is not None
    assert calls[0].function.name == "weather"
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def agents_and_models_are_listed() -> None:
    names = {model.id for model in client().models.list()}
    assert {AGENT, "offline/echo"} <= names, names


def a_wrong_key_is_an_authentication_error() -> None:
    error = _error(openai.AuthenticationError, client(api_key="wrong"), AGENT)
    assert error.code == "unauthorized", error.code


def an_unknown_agent_is_a_not_found_error() -> None:
    error = _error(openai.NotFoundError, client(), "ghost")
    assert error.code == "unknown_agent"
    assert error.request_id


def a_bad_parameter_is_an_unprocessable_entity_error() -> None:
    error = _error(openai.UnprocessableEntityError, client(), AGENT, temperature=9)
    assert error.param == "temperature", error.param


def a_parameter_that_would_not_hold_is_named() -> None:
    error = _error(openai.UnprocessableEntityError, client(), AGENT, logprobs=True)
    assert (error.param, error.code) == ("logprobs", "not_supported")
    error = _error(openai.UnprocessableEntityError, client(), MODEL, extra_body={"models": ["x"]})
    assert error.param == "models"


def a_request_with_a_key_is_carried_out_once() -> None:
    def answer() -> Any:
        return client().chat.completions.with_raw_response.create(
            model=AGENT,
            messages=[{"role": "user", "content": "Hello"}],
            extra_headers={"Idempotency-Key": f"once-{openai.__version__}"},
        )

    first, again = answer(), answer()
    assert first.headers.get("idempotency-replayed") is None
    assert again.headers["idempotency-replayed"] == "true"
    assert again.parse().id == first.parse().id


def a_rate_limit_is_tried_again_and_then_told() -> None:
    error = _error(openai.RateLimitError, client(max_retries=1), "stub/rate-limited;retry_after=1")
    assert error.code == "model_rate_limited"
    assert int(error.response.headers["retry-after"]) >= 1


def a_failure_in_the_middle_of_a_stream_is_an_api_error() -> None:
    stream = client().chat.completions.create(
        model="stub/cut", messages=[{"role": "user", "content": "x"}], stream=True
    )
    error = _raised(openai.APIError, lambda: list(stream))
    assert error.code, error


def a_response_is_made_by_an_agent_and_continued() -> None:
    first = client().responses.create(model=AGENT, input="My name is Ada.", metadata={"a": "b"})
    assert first.status == "completed"
    assert first.output_text
    assert first.usage is not None
    assert first.usage.total_tokens > 0
    assert first.metadata == {"a": "b"}
    second = client().responses.create(
        model=AGENT, input="What is my name?", previous_response_id=first.id
    )
    assert second.previous_response_id == first.id
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    assert _continued(first.id).code == "previous_response_not_found"


def a_response_that_is_not_stored_cannot_be_continued() -> None:
    made = client().responses.create(model=AGENT, input="Hello", store=False)
    assert made.output_text
    assert _continued(made.id).param == "previous_response_id"


def a_response_streams_by_the_specification() -> None:
    events = list(client().responses.create(model=MODEL, input="Hello", stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ], kinds
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ], kinds
    assert [event.sequence_number for event in events] == list(range(len(events)))
    final: Any = events[-1]
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == final.response.output_text == "word0 word1 word2 word3 word4 "
    assert final.response.usage.output_tokens > 0


def the_helper_follows_a_response() -> None:
    with client().responses.stream(model=AGENT, input="Hello") as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert final.status == "completed"
    assert final.output_text


def a_response_calls_a_function_of_the_client() -> None:
    tools: list[Any] = [{"type": "function", "strict": False, **WEATHER}]
    conversation: list[Any] = [{"role": "user", "content": "Weather in Rome?"}]
    first = client().responses.create(model="stub/tools", input=conversation, tools=tools)
    call: Any = next(item for item in first.output if item.type == "function_call")
    assert call.name == "weather"
    conversation += [item.model_dump() for item in first.output]
    conversation.append(
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    )
    second = client().responses.create(model="stub/tools", input=conversation, tools=tools)
    assert second.output_text
    events = list(
        client().responses.create(model="stub/tools", input="x", tools=tools, stream=True)
    )
    kinds = [event.type for event in events]
    assert "response.function_call_arguments.done" in kinds, kinds


def a_response_that_fails_midway_ends_as_failed() -> None:
    events: list[Any] = list(client().responses.create(model="stub/cut", input="x", stream=True))
    assert events[-1].type == "response.failed", events[-1].type
    assert events[-1].response.status == "failed"
    assert events[-1].response.error.code


def an_asynchronous_client_works_too() -> None:
    async def talk() -> str:
        async with AsyncOpenAI() as http:
            stream = await http.chat.completions.create(
                model=AGENT, messages=[{"role": "user", "content": "Hello"}], stream=True
            )
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    assert asyncio.run(talk())


def _continued(response_id: str) -> Any:
    return _raised(
        openai.BadRequestError,
        lambda: client().responses.create(model=AGENT, input="x", previous_response_id=response_id),
    )


def _error(kind: type[Any], sdk: OpenAI, model: str, **options: Any) -> Any:
    return _raised(
        kind,
        lambda: sdk.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "x"}], **options
        ),
    )


def _raised(kind: type[Any], call: Callable[[], object]) -> Any:
    try:
        answer = call()
    except kind as error:
        return error
    raise AssertionError(f"it ended well: {answer}")


CONVERSATIONS: tuple[Callable[[], None], ...] = (
    an_agent_completes_a_chat,
    a_system_message_is_taken,
    an_agent_streams_a_chat_with_usage,
    the_helper_follows_a_stream,
    a_model_calls_a_tool_of_the_client,
    a_tool_call_streams,
    agents_and_models_are_listed,
    a_wrong_key_is_an_authentication_error,
    an_unknown_agent_is_a_not_found_error,
    a_bad_parameter_is_an_unprocessable_entity_error,
    a_parameter_that_would_not_hold_is_named,
    a_request_with_a_key_is_carried_out_once,
    a_rate_limit_is_tried_again_and_then_told,
    a_failure_in_the_middle_of_a_stream_is_an_api_error,
    a_response_is_made_by_an_agent_and_continued,
    a_response_that_is_not_stored_cannot_be_continued,
    a_response_streams_by_the_specification,
    the_helper_follows_a_response,
    a_response_calls_a_function_of_the_client,
    a_response_that_fails_midway_ends_as_failed,
    an_asynchronous_client_works_too,
)


def main() -> None:
    """Run all; an empty text is success."""
    assert os.environ["OPENAI_BASE_URL"]
    outcomes = {}
    for conversation in CONVERSATIONS:
        try:
            conversation()
        except Exception:  # noqa: BLE001 (told to the test)
            outcomes[conversation.__name__] = traceback.format_exc()
        else:
            outcomes[conversation.__name__] = ""
    json.dump({"version": openai.__version__, "outcomes": outcomes}, sys.stdout)


if __name__ == "__main__":
    main()
