import time
from decimal import Decimal

import pytest

from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.offline.model import OfflineModel, count_tokens
from bulkhead_runtime.models.port import (
    Finished,
    Meter,
    ModelMessage,
    ModelRequest,
    Part,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)

TOOLS = (
    ToolSpec("calculate", "Calculates.", {"type": "object"}),
    ToolSpec("current_time", "Tells the time.", {"type": "object"}),
)


def asked(*contents: str) -> tuple[ModelMessage, ...]:
    return tuple(
        ModelMessage("assistant" if i % 2 else "user", content)
        for i, content in enumerate(contents)
    )


async def answer(
    messages: tuple[ModelMessage, ...],
    tools: tuple[ToolSpec, ...] = (),
    limit: int = 2048,
    model: str = "offline/echo",
) -> list[Part]:
    request = ModelRequest(
        model=model,
        messages=messages,
        max_output_tokens=limit,
        deadline=time.monotonic() + 5,
        tools=tools,
    )
    return [part async for part in OfflineModel("acme").stream(request, Meter())]


def text(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextDelta))


async def test_greets_with_the_organization_and_repeats_the_question() -> None:
    said = text(await answer(asked("How are you?")))
    assert "acme" in said
    assert 'You said: "How are you?"' in said
    assert "This is turn 1" in said


async def test_shows_that_instructions_and_history_reached_it() -> None:
    system = ModelMessage("system", "You are the help desk.\nBe kind.")
    said = text(await answer((system, *asked("My name is Ada.", "Hello Ada.", "Who am I?"))))
    assert '"You are the help desk."' in said
    assert "This is turn 2" in said
    assert "I remember 2 earlier messages" in said
    assert '"My name is Ada."' in said


async def test_streams_word_by_word_and_counts_what_it_streamed() -> None:
    parts = await answer(asked("Hello there"))
    words = [part for part in parts if isinstance(part, TextDelta)]
    assert len(words) > 10
    assert parts[-2] == Usage(
        input_tokens=4 + 2, output_tokens=count_tokens(text(parts)), cost=Decimal(0)
    )
    assert parts[-1] == Finished("stop", "offline/echo")


async def test_the_same_conversation_is_always_answered_the_same() -> None:
    assert await answer(asked("Hello")) == await answer(asked("Hello"))


async def test_stops_at_the_output_limit_and_says_so() -> None:
    parts = await answer(asked("Hello there"), limit=5)
    assert isinstance(parts[-2], Usage)
    assert parts[-2].output_tokens <= 5
    assert parts[-1] == Finished("length", "offline/echo")


@pytest.mark.parametrize(
    ("question", "name", "arguments"),
    [
        ("What is (2 + 3) * 4?", "calculate", '{"expression":"(2 + 3) * 4"}'),
        ("please calculate 2**10", "calculate", '{"expression":"2**10"}'),
        ("What time is it?", "current_time", '{"timezone":"UTC"}'),
        ("what's the date in Europe/Berlin", "current_time", '{"timezone":"Europe/Berlin"}'),
    ],
)
async def test_calls_the_tool_that_answers_the_question(
    question: str, name: str, arguments: str
) -> None:
    parts = await answer(asked(question), TOOLS)
    assert parts[0] == ToolCall("call_1", name, arguments)
    assert isinstance(parts[1], Usage)
    assert parts[2] == Finished("tool_calls", "offline/echo")


@pytest.mark.parametrize(
    ("question", "tools"),
    [
        pytest.param("What time is it?", (), id="a tool that is not offered"),
        pytest.param("I ordered on 2026-11-20.", TOOLS, id="a date that nobody asks to calculate"),
        pytest.param("Good times!", TOOLS, id="a question about neither"),
    ],
)
async def test_answers_in_words_without_a_reason_to_call(
    question: str, tools: tuple[ToolSpec, ...]
) -> None:
    parts = await answer(asked(question), tools)
    assert parts[-1] == Finished("stop", "offline/echo")


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ('{"ok":true,"data":{"expression":"6*7","result":"42"}}', "result 42"),
        (
            '{"ok":false,"error":{"code":"undefined","message":"divides by zero"}}',
            "divides by zero",
        ),
        ("plain text", "plain text"),
    ],
)
async def test_uses_what_the_tool_answered(result: str, told: str) -> None:
    call = ToolCall("call_1", "calculate", "{}")
    messages = (
        *asked("What is 6*7?"),
        ModelMessage("assistant", "", (call,)),
        ModelMessage("tool", result, tool_call_id="call_1"),
    )
    parts = await answer(messages, TOOLS)
    assert told in text(parts)
    assert parts[-1] == Finished("stop", "offline/echo")


async def test_a_long_question_is_quoted_in_part() -> None:
    assert len(text(await answer(asked("x" * 100_000)))) < 1_000


async def test_another_name_is_refused_with_the_one_there_is() -> None:
    with pytest.raises(ModelError, match="'offline/echo'") as refused:
        await answer(asked("Hello"), model="offline/gpt")
    assert refused.value.kind == "unknown_model"
