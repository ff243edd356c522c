"""Packages with an image of their own: it answers, and everything else stays the runtime's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bulkhead_api.runtime_config import PackageContent, PackageDocument
from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.execution import Event, Token
from bulkhead_runtime.kernel.requests import TurnRequest
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.port import PoolBounds
from tests.support import stub_image
from tests.support.deadline import until
from tests.support.runtime.in_process import ALICE, caller, running, say
from tests.support.stub_image import HELLO, Answer, StubImage

ALLOW = {"policy": {"rules": [{"name": "sums", "effect": "Allow", "match": ["calculate"]}]}}


def imaged(agent: dict[str, Any] | None = None, **image: Any) -> PackageDocument:
    """A version whose image answers for the assistant."""
    content = {
        "agents": [{"name": "assistant", "tools": ["calculate"], **(agent or {})}],
        "image": {"reference": "registry.example.com/agents/helper:1", **image},
    }
    return PackageDocument.holding("helper", "1.0.0", PackageContent.model_validate(content))


@asynccontextmanager
async def served(
    directory: Path, one: PackageDocument | None = None, **sections: Any
) -> AsyncIterator[tuple[Runtime, StubImage]]:
    async with stub_image.running() as image:
        endpoints = {"1.0.0": image.endpoint}
        document = one or imaged(maxCostPerCall="0.50")
        async with running(directory, document, endpoints=endpoints, **sections) as runtime:
            yield runtime, image


async def refusal(runtime: Runtime) -> Problem:
    with pytest.raises(Problem) as caught:
        await say(runtime, "hello")
    return caught.value


async def ledgered(runtime: Runtime) -> list[tuple[str, int, int, Decimal | None]]:
    async def settled() -> bool:
        return bool(await lines())

    async def lines() -> list[tuple[str, int, int, Decimal | None]]:
        page = await runtime.store.ledger(
            since=0, until=2**52, principal=None, limit=20, cursor=None
        )
        return [(one.model, one.input_tokens, one.output_tokens, one.cost) for one in page.items]

    await until(settled, "the turn is settled")
    return await lines()


async def test_an_image_answers_in_parts_as_it_speaks(tmp_path: Path) -> None:
    heard: list[Event] = []

    async def take(event: Event) -> None:
        heard.append(event)

    async with served(tmp_path) as (runtime, _):
        request = TurnRequest(agent="assistant", message="hello", caller=caller())
        result = await runtime.turns.execute(request, take)
    assert [one.text for one in heard if isinstance(one, Token)] == ["Hello ", "there."]
    assert (result.status, result.answer) == ("completed", "Hello there.")
    assert (result.model, result.version) == ("package/helper", "1.0.0")


async def test_the_history_is_the_runtimes_and_is_handed_over(tmp_path: Path) -> None:
    one = imaged({"instructions": "Be kind."}, maxCostPerCall="0.50")
    async with served(tmp_path, one) as (runtime, image):
        first = await say(runtime, "hello")
        await say(runtime, "again", first.session_id)
    told = [(m["role"], m["content"]) for m in image.requests[1]["messages"]]
    assert told == [
        ("system", "Be kind."),
        ("user", "hello"),
        ("assistant", "Hello there."),
        ("user", "again"),
    ]
    assert image.requests[1]["session_id"] == first.session_id


async def test_an_image_has_the_runtimes_tools_under_its_policy(tmp_path: Path) -> None:
    asks: list[dict[str, Any]] = [
        {"type": "tool_call", "id": "a", "name": "calculate", "arguments": {"expression": "6*7"}},
        {"type": "tool_call", "id": "b", "name": "current_time", "arguments": {}},
        {"type": "done"},
    ]
    tools = Tools.model_validate(ALLOW)
    async with served(tmp_path, tools=tools) as (runtime, image):
        image.script = [Answer(asks), Answer(HELLO)]
        result = await say(runtime, "what is 6*7?")
    assert result.answer == "Hello there."
    assert [tool["name"] for tool in image.requests[0]["tools"]] == ["calculate"]
    *_, first, second = image.requests[1]["messages"]
    assert (first["tool_call_id"], "42" in first["content"]) == ("a", True)
    assert (second["tool_call_id"], "unknown_tool" in second["content"]) == ("b", True)


async def test_what_an_image_says_that_it_used_is_ledgered(tmp_path: Path) -> None:
    async with served(tmp_path) as (runtime, _):
        result = await say(runtime, "hello")
        lines = await ledgered(runtime)
    assert lines == [("package/helper", 3, 2, Decimal("0.01"))]
    assert (result.usage.input_tokens, result.usage.cost) == (3, "0.01")


async def test_an_image_that_does_not_count_is_charged_the_most_it_can_have_used(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (runtime, image):
        image.script = [Answer([{"type": "text", "text": "12345"}, {"type": "done"}])]
        await say(runtime, "hello")
        ((_, read, written, cost),) = await ledgered(runtime)
    assert read >= len("hello")
    assert (written, cost) == (5, Decimal("0.50"))


async def test_a_failure_is_charged_too(tmp_path: Path) -> None:
    async with served(tmp_path) as (runtime, image):
        image.script = [Answer([{"type": "text", "text": "12345"}])]
        problem = await refusal(runtime)
        ((_, _, written, cost),) = await ledgered(runtime)
    assert problem.code == "model_unavailable"
    assert (written, cost) == (5, Decimal("0.50"))


async def test_a_budget_on_cost_refuses_an_image_that_does_not_say_what_it_costs(
    tmp_path: Path,
) -> None:
    budgets = Budgets(total=Allowance(cost="1"))
    async with served(tmp_path, imaged(), budgets=budgets) as (runtime, image):
        problem = await refusal(runtime)
    assert (problem.status, problem.code) == (402, "price_unknown")
    assert "spec.image.maxCostPerCall" in problem.message
    assert image.requests == []


async def test_a_budget_without_room_for_a_call_refuses_it_before_it_is_made(
    tmp_path: Path,
) -> None:
    budgets = Budgets(total=Allowance(cost="0.505"))
    async with served(tmp_path, budgets=budgets) as (runtime, image):
        await say(runtime, "hello")
        await ledgered(runtime)
        problem = await refusal(runtime)
    assert problem.code == "budget_exceeded"
    assert len(image.requests) == 1


async def test_a_long_history_does_not_raise_what_is_reserved(tmp_path: Path) -> None:
    budgets = Budgets(total=Allowance(cost="0.60"))
    async with served(tmp_path, budgets=budgets) as (runtime, _):
        first = await say(runtime, "hello " * 500)
        await ledgered(runtime)
        again = await say(runtime, "hi", first.session_id)
    assert again.status == "completed"


BROKEN = {
    "fails": (Answer(status=500), 502, "model_unavailable", "answers with status 500"),
    "is busy": (Answer(status=429), 429, "model_rate_limited", "answers with status 429"),
    "knows no such path": (Answer(status=404), 502, "model_garbage", "answers with status 404"),
    "sends no stream": (Answer(kind="text/html"), 502, "model_garbage", "text/html"),
    "sends what is not JSON": (Answer(raw=b"data: {oops\n\n"), 502, "model_garbage", "an event"),
    "sends an unknown event": (
        Answer([{"type": "dance"}]),
        502,
        "model_garbage",
        "contract does not know",
    ),
    "counts below zero": (
        Answer([{"type": "usage", "input_tokens": -1, "output_tokens": 1}]),
        502,
        "model_garbage",
        "input_tokens",
    ),
    "ends its stream early": (Answer(HELLO[:2]), 502, "model_unavailable", "ended its answer"),
    "gives up with a reason": (
        Answer([{"type": "error", "message": "no parcels today"}]),
        502,
        "model_unavailable",
        "no parcels today",
    ),
    "never stops": (
        Answer([{"type": "text", "text": "a" * 600_000}]),
        502,
        "model_garbage",
        "more than the",
    ),
    "sends an endless event": (Answer(raw=b"data: " + b"a" * 1_100_000), 502, "model_garbage", ""),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_the_failure_is_told_and_nothing_is_remembered_when_the_image(
    tmp_path: Path, case: str
) -> None:
    answer, status, code, words = BROKEN[case]
    async with served(tmp_path) as (runtime, image):
        image.script = [Answer(HELLO), answer, Answer(HELLO)]
        first = await say(runtime, "hello")
        with pytest.raises(Problem) as caught:
            await say(runtime, "fails", first.session_id)
        await say(runtime, "goes on", first.session_id)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert words in caught.value.message
    assert [m["content"] for m in image.requests[-1]["messages"]][-3:] == [
        "hello",
        "Hello there.",
        "goes on",
    ]


async def test_an_image_that_is_away_costs_nothing(tmp_path: Path) -> None:
    endpoints = {"1.0.0": "http://127.0.0.1:9"}
    async with running(tmp_path, imaged(maxCostPerCall="1"), endpoints=endpoints) as runtime:
        problem = await refusal(runtime)
    assert (problem.status, problem.code, problem.spent) == (502, "model_unavailable", None)
    assert "cannot be connected to" in problem.message


async def test_an_image_that_takes_too_long_is_left_at_the_deadline(tmp_path: Path) -> None:
    async with served(tmp_path, imaged({"timeoutSeconds": 3})) as (runtime, image):
        image.script = [Answer(HELLO[:1], holds=True)]
        problem = await refusal(runtime)
        async with asyncio.timeout(30):
            await image.left.wait()
    assert problem.code in {"execution_timeout", "model_timeout"}
    assert image.requests[0]["deadline_seconds"] <= 3


async def test_an_interrupted_turn_is_left_at_once(tmp_path: Path) -> None:
    sessions: list[str | None] = []

    async def take(event: Event) -> None:
        if isinstance(event, Token):
            await runtime.turns.interrupt(str(sessions[0]), None)

    async with served(tmp_path) as (runtime, image):
        first = await say(runtime, "hello")
        sessions.append(first.session_id)
        image.script = [Answer(HELLO[:1], holds=True)]
        request = TurnRequest("assistant", "go on", caller(), session_id=first.session_id)
        with pytest.raises(Problem) as caught:
            await runtime.turns.execute(request, take)
        async with asyncio.timeout(30):
            await image.left.wait()
        bounds = PoolBounds.configured(runtime.holder.require().source)
        session = await runtime.store.session(str(first.session_id), ALICE.name, bounds)
    assert caught.value.code == "interrupted"
    assert session.status == "interrupted"


async def test_an_image_learns_the_run_and_nobodys_key(tmp_path: Path) -> None:
    async with served(tmp_path) as (runtime, image):
        await say(runtime, "hello")
    (asked,) = image.requests
    assert set(asked) == {
        "agent",
        "package",
        "version",
        "run_id",
        "session_id",
        "model",
        "messages",
        "tools",
        "max_output_tokens",
        "deadline_seconds",
    }


@pytest.mark.parametrize(("healthy", "verdict"), [(True, "Passed"), (False, "Failed")])
async def test_the_image_is_checked_before_its_version_gets_sessions(
    tmp_path: Path, healthy: bool, verdict: str
) -> None:
    async with stub_image.running() as image:
        image.healthy = healthy
        endpoints, checks = {"1.0.0": image.endpoint}, {"1.0.0": "once"}
        async with running(tmp_path, imaged(), endpoints=endpoints, checks=checks) as runtime:

            async def settled() -> bool:
                return (await runtime.state()).checks[0].verdict != "Pending"

            await until(settled, "the check has ended")
            (report,) = (await runtime.state()).checks
    assert report.verdict == verdict
    assert [one.name for one in report.results] == ["image"]


async def test_no_model_answers_for_an_image_whose_address_is_not_known(tmp_path: Path) -> None:
    async with running(tmp_path, imaged()) as runtime:
        refused = (await runtime.state()).refusals
    assert refused[0].what == "package_helper_1.0.0.json"
    assert "has an image, but its route says that it has none" in refused[0].message
