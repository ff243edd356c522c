import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import ByteRequest, Spent, Switch, Usage
from bulkhead_runtime.models.router import ModelRouter
from tests.support.stub_provider import StubProvider
from tests.unit.runtime.models.routers import (
    Heard,
    hear,
    hear_into,
    provider,
    router_of,
    two_providers,
)

FIVE_WORDS = "word0 word1 word2 word3 word4 "


@pytest.fixture
async def router(tmp_path: Path, stub: StubProvider) -> AsyncIterator[ModelRouter]:
    async with router_of(tmp_path, *two_providers(stub, max_retries=0)) as router:
        yield router


class Switches:
    """Grants what it is told to and keeps what it was asked."""

    def __init__(self, granted: int = 1000) -> None:
        self.seen: list[Switch] = []
        self._granted = granted

    async def __call__(self, switch: Switch) -> int:
        self.seen.append(switch)
        return self._granted


FAILURES_BEFORE_THE_FIRST_TOKEN = {
    "is limiting requests": "up/rate-limited;retry_after=30",
    "fails": "up/error",
    "does not answer in time": "up/silent",
    "answers a web page": "up/html",
    "refuses the key": "up/unauthorized",
    "has an account without credit": "up/unpaid",
    "redirects": "up/redirect",
    "is not there": "dead/words",
    "is not configured": "gone/words",
}


@pytest.mark.parametrize(
    "model", FAILURES_BEFORE_THE_FIRST_TOKEN.values(), ids=FAILURES_BEFORE_THE_FIRST_TOKEN.keys()
)
async def test_the_next_model_answers_when_the_first_ones_provider(
    router: ModelRouter, model: str
) -> None:
    heard = await hear(router, model, "other/words")
    assert heard.text == FIVE_WORDS
    assert heard.model == "other/words"
    assert heard.spent[-1] == Spent("other/words", Usage(7, 5))


async def test_a_failure_that_another_model_hides_is_in_the_log_with_its_status(
    router: ModelRouter, caplog: pytest.LogCaptureFixture
) -> None:
    await hear(router, "up/unauthorized", "other/words")
    (told,) = [record for record in caplog.records if record.message == "Model call failed"]
    assert told.levelname == "WARNING"
    fields = {name: vars(told)[name] for name in ("provider", "model", "kind", "status")}
    assert fields == {
        "provider": "up",
        "model": "up/unauthorized",
        "kind": "unauthorized",
        "status": 401,
    }


async def test_a_provider_that_was_silent_may_have_to_be_paid_for_the_input(
    router: ModelRouter,
) -> None:
    heard = await hear(router, "up/silent", "other/words")
    silent, _ = heard.spent
    assert silent.model == "up/silent"
    assert silent.usage.estimated
    assert silent.usage.input_tokens >= len("Hello")


async def test_who_refused_took_nothing(router: ModelRouter) -> None:
    heard = await hear(router, "up/error", "other/words")
    assert [spent.model for spent in heard.spent] == ["other/words"]


@pytest.mark.parametrize(
    ("model", "kind"), [("up/context", "invalid_request"), ("up/unknown", "unknown_model")]
)
async def test_a_request_that_is_refused_is_nobody_elses(
    router: ModelRouter, stub: StubProvider, model: str, kind: str
) -> None:
    with pytest.raises(ModelError) as failed:
        await hear(router, model, "other/words")
    assert failed.value.kind == kind
    assert len(stub.requests) == 1


@pytest.mark.parametrize("mode", ["cut;delay_ms=50", "hang", "garbage;delay_ms=50"])
async def test_after_the_first_token_no_other_model_continues(
    router: ModelRouter, stub: StubProvider, mode: str
) -> None:
    heard = Heard()
    with pytest.raises(ModelError):
        await hear_into(heard, router, f"up/{mode}", "other/words")
    assert heard.text == "word0 "
    assert len(stub.requests) == 1
    (spent,) = heard.spent
    assert spent.usage.estimated
    assert spent.usage.output_tokens >= len("word0 ")


async def test_a_cancelled_call_tells_what_it_took(router: ModelRouter, stub: StubProvider) -> None:
    heard = Heard()
    task = asyncio.create_task(hear_into(heard, router, "up/words;chunks=1000;delay_ms=5"))
    await heard.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stub.cancelled()
    (spent,) = heard.spent
    assert spent.usage.estimated
    assert spent.usage.output_tokens >= len(heard.text)


async def test_the_budget_is_asked_before_the_next_model_and_bounds_its_output(
    router: ModelRouter, stub: StubProvider
) -> None:
    switches = Switches(granted=3)
    await hear(router, "up/silent", "other/words", on_switch=switches)
    (switch,) = switches.seen
    assert (switch.failed, switch.model, switch.error.kind) == (
        "up/silent",
        "other/words",
        "timeout",
    )
    assert switch.bound.output_tokens == 64
    assert switch.bound.input_tokens >= len("Hello")
    assert switch.spent is not None
    assert stub.requests[-1].body["max_tokens"] == 3


async def test_a_budget_without_room_ends_the_call_before_the_next_model(
    router: ModelRouter, stub: StubProvider
) -> None:
    class NoRoomError(Exception):
        pass

    async def refuse(_: Switch) -> int:
        raise NoRoomError

    with pytest.raises(NoRoomError):
        await hear(router, "up/error", "other/words", on_switch=refuse)
    assert len(stub.requests) == 1


async def test_models_that_cannot_be_asked_are_passed_over_without_asking_the_budget(
    router: ModelRouter,
) -> None:
    switches = Switches()
    await hear(router, "up/error", "gone/words", "other/words", on_switch=switches)
    assert [switch.model for switch in switches.seen] == ["other/words"]


async def test_when_all_fail_the_error_names_each_and_the_shortest_wait(
    router: ModelRouter,
) -> None:
    with pytest.raises(ModelError) as failed:
        await hear(
            router,
            "up/rate-limited;retry_after=30",
            "dead/words",
            "other/rate-limited;retry_after=9",
        )
    assert failed.value.kind == "rate_limited"
    assert failed.value.retry_after == 9
    assert all(f"'{name}'" in failed.value.message for name in ("up", "dead", "other"))


async def test_nothing_is_reserved_or_asked_after_the_deadline(
    router: ModelRouter, stub: StubProvider
) -> None:
    switches = Switches()
    with pytest.raises(ModelError) as failed:
        await hear(router, "up/silent", "other/words", seconds=1.5, on_switch=switches)
    assert failed.value.kind == "timeout"
    assert len(stub.requests) == 1
    assert switches.seen == []


async def test_a_provider_that_is_busy_for_a_moment_is_asked_again(
    tmp_path: Path, stub: StubProvider
) -> None:
    async with router_of(tmp_path, provider("up", stub.base_url)) as router:
        heard = await hear(router, "up/busy-once;times=2")
    assert heard.text == FIVE_WORDS
    assert len(stub.requests) == 3


async def test_each_model_of_a_plan_is_tried_as_often_as_its_provider_says(
    tmp_path: Path, stub: StubProvider
) -> None:
    async with router_of(tmp_path, *two_providers(stub, max_retries=2)) as router:
        heard = await hear(router, "up/error", "other/busy-once;times=2")
    assert heard.text == FIVE_WORDS
    assert len(stub.requests) == 6


@pytest.mark.parametrize(
    ("model", "retries", "requests"),
    [
        pytest.param("error", 2, 3, id="a server error is tried three times in all"),
        pytest.param("error;status=529", 1, 2, id="so is who says that it is overloaded"),
        pytest.param("error", 0, 1, id="or once where the spec says so"),
        pytest.param("rate-limited;retry_after=0", 2, 3, id="so is a limit that is over at once"),
        pytest.param("rate-limited;retry_after=30", 2, 1, id="a long wait is left to the caller"),
        pytest.param("silent", 2, 1, id="a timeout may still be paid for"),
        pytest.param("unauthorized", 2, 1, id="a wrong key stays wrong"),
        pytest.param("context", 2, 1, id="a refused request stays refused"),
        pytest.param("unpaid", 2, 1, id="an empty account stays empty"),
        pytest.param("redirect", 2, 1, id="who has moved has moved"),
        pytest.param("cut", 2, 1, id="an answer that has begun is not begun again"),
        pytest.param("html", 2, 1, id="garbage is not asked for twice"),
    ],
)
async def test_only_what_is_safe_is_tried_again(
    tmp_path: Path, stub: StubProvider, model: str, retries: int, requests: int
) -> None:
    up = provider("up", stub.base_url, max_retries=retries)
    async with router_of(tmp_path, up) as router:
        with pytest.raises(ModelError):
            await hear(router, f"up/{model}")
    assert len(stub.requests) == requests


async def test_a_wait_that_ends_after_the_deadline_is_not_begun(
    tmp_path: Path, stub: StubProvider
) -> None:
    async with router_of(tmp_path, provider("up", stub.base_url)) as router:
        with pytest.raises(ModelError) as failed:
            await hear(router, "up/rate-limited;retry_after=4", seconds=3.5)
    assert (failed.value.kind, failed.value.retry_after) == ("rate_limited", 4)


async def write_all(router: ModelRouter, *plan: str) -> tuple[bytes, tuple[Spent, ...], str]:
    written: list[bytes] = []

    async def write(data: bytes) -> None:
        written.append(data)

    asked = ByteRequest(
        model=plan[0],
        body={"messages": [{"role": "user", "content": "Hello"}]},
        answer_id="chatcmpl-ours",
        include_usage=False,
        max_output_tokens=64,
        deadline=time.monotonic() + 10,
    )
    call = router.byte_call(asked, plan)
    try:
        await call.run(write)
    except ModelError:
        if not written:
            raise
    return b"".join(written), call.spent, call.model


async def test_bytes_come_from_the_next_model_and_name_it(router: ModelRouter) -> None:
    written, spent, model = await write_all(router, "up/error", "other/words")
    assert model == "other/words"
    assert b'"model":"other/words"' in written
    assert b"up/error" not in written
    assert spent == (Spent("other/words", Usage(7, 5)),)


async def test_bytes_that_break_off_are_not_continued_by_another_model(
    router: ModelRouter, stub: StubProvider
) -> None:
    written, spent, _ = await write_all(router, "up/cut;delay_ms=50", "other/words")
    assert b"[DONE]" not in written
    assert len(stub.requests) == 1
    assert spent[0].usage.estimated


async def test_bytes_are_refused_for_a_model_that_has_none(router: ModelRouter) -> None:
    with pytest.raises(ModelError, match="byte for byte"):
        await write_all(router, "offline/echo")
