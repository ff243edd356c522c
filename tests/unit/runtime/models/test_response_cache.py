import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import (
    CacheScope,
    Finished,
    ModelMessage,
    ModelRequest,
    Part,
    Spent,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)
from bulkhead_runtime.models.response_cache import Answer, ResponseCache, cache_key
from bulkhead_runtime.models.router import ModelRouter
from tests.support.stub_provider import StubProvider
from tests.unit.runtime.models.conftest import CALCULATE, request
from tests.unit.runtime.models.routers import provider, router_of

SCOPE = CacheScope(seconds=60, parts=("acme", "assistant", "helpdesk", "1.0.0", "policies-1"))
NOTHING = Usage(0, 0, Decimal(0))


@pytest.fixture
async def router(tmp_path: Path, stub: StubProvider) -> AsyncIterator[ModelRouter]:
    up = provider("up", stub.base_url, max_retries=0, timeout_seconds=30)
    async with router_of(tmp_path, up) as router:
        yield router


async def ask(
    router: ModelRouter, asked: ModelRequest, scope: CacheScope | None = SCOPE
) -> tuple[list[Part], tuple[Spent, ...]]:
    call = router.call(asked, (asked.model,), cache=scope)
    parts = [part async for part in call.stream()]
    return parts, call.spent


def text(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextDelta))


async def test_the_same_question_is_answered_again_for_nothing(
    router: ModelRouter, stub: StubProvider
) -> None:
    first, paid = await ask(router, request("up/words"))
    again, free = await ask(router, request("up/words"))
    assert text(again) == text(first)
    assert again[-2:] == [NOTHING, Finished("stop", "words")]
    assert paid == (Spent("up/words", Usage(7, 5)),)
    assert free == (Spent("up/words", NOTHING, cached=True),)
    assert len(stub.requests) == 1


async def test_a_tool_call_is_asked_for_again_and_its_result_is_always_new(
    router: ModelRouter, stub: StubProvider
) -> None:
    asked = request("up/tools", tools=(CALCULATE,))
    await ask(router, asked)
    again, _ = await ask(router, asked)
    assert isinstance(again[0], ToolCall)
    told = msgspec.structs.replace(
        asked,
        messages=(
            *asked.messages,
            ModelMessage("assistant", "", (again[0],)),
            ModelMessage("tool", "42", tool_call_id=again[0].id),
        ),
    )
    await ask(router, told)
    await ask(router, told)
    assert len(stub.requests) == 3


async def test_without_being_asked_for_nothing_is_kept(
    router: ModelRouter, stub: StubProvider
) -> None:
    for scope in (None, msgspec.structs.replace(SCOPE, seconds=0)):
        await ask(router, request("up/words"), scope)
    assert len(stub.requests) == 2


LATER_TURN = (
    ModelMessage("user", "My name is Ada."),
    ModelMessage("assistant", "Hello Ada."),
    ModelMessage("user", "Who am I?"),
)
PICTURE = (ModelMessage("user", "look", raw_content=({"type": "text", "text": "look"},)),)


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(LATER_TURN, id="a turn that remembers"),
        pytest.param(PICTURE, id="a message of several parts"),
    ],
)
async def test_only_a_first_question_of_plain_text_is_kept(
    router: ModelRouter, stub: StubProvider, messages: tuple[ModelMessage, ...]
) -> None:
    for _ in range(2):
        await ask(router, request("up/words", messages=messages))
    assert len(stub.requests) == 2


@pytest.mark.parametrize("model", ["up/cut;delay_ms=20", "up/error"])
async def test_an_answer_that_failed_is_not_kept(
    router: ModelRouter, stub: StubProvider, model: str
) -> None:
    for _ in range(2):
        with pytest.raises(ModelError):
            await ask(router, request(model))
    assert len(stub.requests) == 2


async def test_identical_calls_at_once_are_made_once(
    router: ModelRouter, stub: StubProvider
) -> None:
    heard = await asyncio.gather(*(ask(router, request("up/words;delay_ms=20")) for _ in range(20)))
    assert len(stub.requests) == 1
    assert {text(parts) for parts, _ in heard} == {"word0 word1 word2 word3 word4 "}
    assert sum(spent[0].cached for _, spent in heard) == 19


async def test_when_the_one_that_calls_is_cancelled_another_goes_on(
    router: ModelRouter, stub: StubProvider
) -> None:
    calling, waiting, idle = (
        asyncio.create_task(ask(router, request("up/hang;times=1"))) for _ in range(3)
    )
    assert await stub.asked()
    calling.cancel()
    for task in (waiting, idle):
        parts, _ = await task
        assert text(parts).endswith("word4 ")
    assert len(stub.requests) == 2


async def test_who_waits_for_anothers_answer_waits_no_longer_than_its_deadline(
    router: ModelRouter,
) -> None:
    calling = asyncio.create_task(ask(router, request("up/hang")))
    await asyncio.sleep(0)
    with pytest.raises(ModelError) as late:
        await ask(router, request("up/hang", seconds=0.2))
    assert late.value.kind == "timeout"
    calling.cancel()


BASE = request("up/words")
DIFFERENCES: dict[str, dict[str, Any]] = {
    "the instructions": {"messages": (ModelMessage("system", "Be kind."), *BASE.messages)},
    "the question": {"messages": (ModelMessage("user", "Bye"),)},
    "who said it": {"messages": (ModelMessage("system", "Hello"),)},
    "the tools": {"tools": (CALCULATE,)},
    "a tool's schema": {"tools": (ToolSpec("calculate", "Calculates.", {"type": "string"}),)},
    "the temperature": {"temperature": 0.5},
    "the output's bound": {"max_output_tokens": 65},
    "the options": {"options": {"top_p": 0.5}},
}


@pytest.mark.parametrize("change", DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_the_key_differs_with(change: dict[str, Any]) -> None:
    plan = ("up/words",)
    other = msgspec.structs.replace(BASE, **change)
    assert cache_key(other, plan, SCOPE) != cache_key(BASE, plan, SCOPE)


@pytest.mark.parametrize("index", range(len(SCOPE.parts)), ids=SCOPE.parts)
def test_the_key_differs_with_every_part_of_the_scope(index: int) -> None:
    parts = list(SCOPE.parts)
    parts[index] = "other"
    other = msgspec.structs.replace(SCOPE, parts=tuple(parts))
    assert cache_key(BASE, ("up/words",), other) != cache_key(BASE, ("up/words",), SCOPE)


def test_the_key_differs_with_the_plan_and_not_with_the_deadline() -> None:
    key = cache_key(BASE, ("up/words",), SCOPE)
    assert cache_key(BASE, ("up/words", "other/words"), SCOPE) != key
    assert cache_key(msgspec.structs.replace(BASE, deadline=0), ("up/words",), SCOPE) == key


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def answer(size: int) -> Answer:
    return Answer("x" * size, (), Finished("stop", "m"), "up/m")


def test_an_answer_expires() -> None:
    clock = Clock()
    cache = ResponseCache(clock=clock)
    cache.put(b"a", answer(10), seconds=60)
    clock.now = 59.9
    assert cache.get(b"a") == answer(10)
    clock.now = 60
    assert cache.get(b"a") is None
    assert cache.bytes == 0


def test_the_bytes_are_bounded_and_what_is_asked_for_stays() -> None:
    cache = ResponseCache(max_bytes=3 * answer(1000).size)
    for key in (b"a", b"b", b"c"):
        cache.put(key, answer(1000), seconds=60)
    cache.get(b"a")
    cache.put(b"d", answer(1000), seconds=60)
    assert cache.bytes == 3 * answer(1000).size
    assert [key for key in (b"a", b"b", b"c", b"d") if cache.get(key)] == [b"a", b"c", b"d"]


def test_putting_an_answer_anew_counts_its_bytes_once() -> None:
    cache = ResponseCache()
    for _ in range(10):
        cache.put(b"a", answer(1000), seconds=60)
    assert cache.bytes == answer(1000).size


async def test_an_answer_too_large_to_keep_is_given_whole_and_asked_for_again(
    router: ModelRouter, stub: StubProvider
) -> None:
    asked = msgspec.structs.replace(request("up/words;chunks=40000"), max_output_tokens=40_000)
    first, _ = await ask(router, asked)
    again, _ = await ask(router, asked)
    assert text(first) == text(again)
    assert text(first).endswith("word39999 ")
    assert len(stub.requests) == 2
