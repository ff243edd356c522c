"""Keys rotate under load: the new one is mounted, the old one revoked, and no call fails."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.router import ModelRouter
from tests.support.stub_provider import StubProvider
from tests.unit.runtime.models.routers import hear, provider, router_of

FIVE_WORDS = "word0 word1 word2 word3 word4 "


@pytest.fixture
async def router(tmp_path: Path, stub: StubProvider) -> AsyncIterator[ModelRouter]:
    (tmp_path / "up").write_text("key-0")
    stub.keys = frozenset({"key-0"})
    up = provider("up", stub.base_url, has_credentials=True, timeout_seconds=10)
    async with router_of(tmp_path, up) as router:
        yield router


@pytest.mark.parametrize(
    "told", [pytest.param(True, id="and is told"), pytest.param(False, id="before it is told")]
)
async def test_no_call_fails_while_keys_rotate_and_the_old_ones_are_revoked(
    router: ModelRouter, stub: StubProvider, tmp_path: Path, *, told: bool
) -> None:
    rotating = True
    calls = 0

    async def talk() -> None:
        nonlocal calls
        while rotating:
            heard = await hear(router, "up/words;delay_ms=1")
            assert heard.text == FIVE_WORDS
            calls += 1

    talking = [asyncio.create_task(talk()) for _ in range(20)]
    for number in range(1, 6):
        stub.keys = frozenset({f"key-{number - 1}", f"key-{number}"})
        (tmp_path / "up").write_text(f"key-{number}")
        if told:
            router.reload_credentials()
        stub.keys = frozenset({f"key-{number}"})
        goal = calls + 100
        while calls < goal:
            await asyncio.wait(talking, timeout=0.05, return_when=asyncio.FIRST_EXCEPTION)
            assert not any(task.done() for task in talking)
    rotating = False
    await asyncio.gather(*talking)


async def test_a_key_that_was_not_replaced_is_refused_once(
    router: ModelRouter, stub: StubProvider
) -> None:
    stub.keys = frozenset()
    with pytest.raises(ModelError) as refused:
        await hear(router, "up/words")
    assert refused.value.kind == "unauthorized"
    assert len(stub.requests) == 1


async def test_a_replaced_key_that_is_wrong_too_is_tried_once(
    router: ModelRouter, stub: StubProvider, tmp_path: Path
) -> None:
    stub.keys = frozenset()
    (tmp_path / "up").write_text("key-1")
    with pytest.raises(ModelError) as refused:
        await hear(router, "up/words")
    assert refused.value.kind == "unauthorized"
    sent = [seen.headers["authorization"] for seen in stub.requests]
    assert sent == ["Bearer key-0", "Bearer key-1"]
