"""The same request sent twice is carried out once, whoever sends it where and when."""

import asyncio
from pathlib import Path

import pytest

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel import patience
from bulkhead_runtime.kernel.context import Principal
from bulkhead_runtime.kernel.idempotency import claim_of
from bulkhead_runtime.kernel.requests import MAX_ANSWER_BYTES, Repeatable, Repeated
from bulkhead_runtime.kernel.settlement import bounded
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.spending import RepeatedAnswer
from bulkhead_runtime.store.sqlite import SqliteStore
from tests.support.deadline import until
from tests.support.runtime.in_process import (
    Trips,
    data_of,
    heard,
    repeatable,
    running,
    say,
    stubbed,
)
from tests.support.runtime_process import agent, document
from tests.support.stub_provider import StubProvider

WORDS = b"word0 word1 word2 word3 word4 "


async def _repeated(runtime: Runtime, key: Repeatable, message: str = "hello") -> RepeatedAnswer:
    with pytest.raises(Repeated) as caught:
        await say(runtime, message, key=key)
    return caught.value.answer


async def _refused(runtime: Runtime, key: Repeatable) -> Problem:
    with pytest.raises(Problem) as caught:
        await say(runtime, "hello", key=key)
    return caught.value


async def test_a_finished_answer_is_repeated_and_its_model_not_called_again(
    tmp_path: Path, provider: StubProvider
) -> None:
    key = repeatable("finished")
    async with running(tmp_path, **stubbed(provider, "words")) as runtime:
        await say(runtime, "hello", key=key)
        before = len(provider.requests)
        answer = await _repeated(runtime, key)
        told = await heard(runtime, "idempotency.start", "idempotency.complete")
    assert answer == RepeatedAnswer(200, "text/plain", WORDS)
    assert len(provider.requests) == before
    assert [event.type for event in told] == ["idempotency.start", "idempotency.complete"]


async def test_an_answer_is_repeated_after_a_restart(
    tmp_path: Path, provider: StubProvider
) -> None:
    key = repeatable("restart")
    async with running(tmp_path, **stubbed(provider, "words")) as runtime:
        await say(runtime, "hello", key=key)
    async with running(tmp_path, **stubbed(provider, "words")) as runtime:
        assert (await _repeated(runtime, key)).body == WORDS


async def test_other_content_under_the_same_key_is_refused(
    tmp_path: Path, provider: StubProvider
) -> None:
    async with running(tmp_path, **stubbed(provider, "words")) as runtime:
        await say(runtime, "hello", key=repeatable("conflict", "one"))
        refused = await _refused(runtime, repeatable("conflict", "another"))
    assert (refused.status, refused.code) == (422, "idempotency_conflict")


async def test_other_content_is_refused_while_the_first_is_carried_out(
    tmp_path: Path, provider: StubProvider
) -> None:
    fields = stubbed(provider, "words;chunks=3;delay_ms=200")
    before = len(provider.requests)
    async with running(tmp_path, **fields) as runtime:
        first = asyncio.create_task(say(runtime, "hello", key=repeatable("flying", "one")))
        await until(lambda: _asked(provider, before), "the model is asked")
        refused = await _refused(runtime, repeatable("flying", "another"))
        await first
    assert refused.code == "idempotency_conflict"


async def test_duplicates_in_flight_wait_for_the_one_that_is_carried_out(
    tmp_path: Path, provider: StubProvider
) -> None:
    key = repeatable("together")
    before = len(provider.requests)
    fields = stubbed(provider, "words;chunks=2;delay_ms=100")
    async with running(tmp_path, **fields) as runtime:
        outcomes = await asyncio.gather(
            *(say(runtime, "hello", key=key) for _ in range(20)), return_exceptions=True
        )
        sessions = (await runtime.store.usage()).sessions
    repeated = [outcome for outcome in outcomes if isinstance(outcome, Repeated)]
    assert len(repeated) == 19
    assert {one.answer.body for one in repeated} == {b"word0 word1 "}
    assert len(provider.requests) - before == sessions == 1


async def test_a_duplicate_on_another_replica_gets_the_answer_of_the_first(
    tmp_path: Path, provider: StubProvider
) -> None:
    """Two runtimes on one volume, as during a rolling update."""
    key = repeatable("replicas")
    before = len(provider.requests)
    fields = stubbed(provider, "words;chunks=3;delay_ms=150")
    async with running(tmp_path, **fields) as one, running(tmp_path, **fields) as other:
        first = asyncio.create_task(say(one, "hello", key=key))
        await until(lambda: _asked(provider, before), "the model is asked")
        answer = await _repeated(other, key)
        await first
    assert answer.body == b"word0 word1 word2 "
    assert len(provider.requests) - before == 1


async def test_a_duplicate_does_not_wait_for_ever(tmp_path: Path, provider: StubProvider) -> None:
    key = repeatable("for-ever")
    before = len(provider.requests)
    async with running(tmp_path, **stubbed(provider, "hang")) as runtime:
        first = asyncio.create_task(say(runtime, "hello", key=key))
        await until(lambda: _asked(provider, before), "the model is asked")
        started = asyncio.get_running_loop().time()
        refused = await _refused(runtime, key)
        waited = asyncio.get_running_loop().time() - started
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert (refused.status, refused.code) == (409, "idempotency_in_flight")
    assert refused.retry_after is not None
    assert waited >= patience.WAIT_SECONDS


async def test_what_failed_before_anything_was_spent_may_be_tried_again(
    tmp_path: Path, provider: StubProvider
) -> None:
    key = repeatable("tried-again")
    one, other = document("1.0.0"), document("1.0.0", agent(model="stub/words"))
    async with running(tmp_path, one, **stubbed(provider, "rate-limited")) as runtime:
        refused = await _refused(runtime, key)
    async with running(tmp_path, other, **stubbed(provider, "rate-limited")) as runtime:
        result = await say(runtime, "hello", key=key)
    assert refused.code == "model_rate_limited"
    assert result.answer.encode() == WORDS


async def test_what_failed_after_something_was_spent_is_told_again_and_not_done_again(
    tmp_path: Path, provider: StubProvider
) -> None:
    key = repeatable("spent")
    async with running(tmp_path, **stubbed(provider, "cut")) as runtime:
        refused = await _refused(runtime, key)
        before = len(provider.requests)
        answer = await _repeated(runtime, key)
    assert (answer.status, answer.body.decode()) == (refused.status, refused.code)
    assert len(provider.requests) == before


async def test_keys_of_two_principals_have_nothing_to_do_with_each_other(
    tmp_path: Path, provider: StubProvider
) -> None:
    key = repeatable("shared")
    bob = Principal("bob", frozenset({"agents:run"}), "bob-key")
    async with running(tmp_path, **stubbed(provider, "words")) as runtime:
        first = await say(runtime, "hello", key=key)
        second = await say(runtime, "hello", key=key, principal=bob)
    assert first.session_id != second.session_id


async def test_a_key_costs_no_round_trip(tmp_path: Path, provider: StubProvider) -> None:
    trips = Trips(SqliteStore(data_of(tmp_path)))
    async with running(tmp_path, store=trips, **stubbed(provider, "words")) as runtime:
        trips.counts.clear()
        await say(runtime, "hello", key=repeatable("trips"))
        counts = {name: trips.counts[name] for name in ("session", "begin", "reserve", "finish")}
    assert counts == {"session": 0, "begin": 1, "reserve": 0, "finish": 1}


@pytest.mark.parametrize("key", ["", "k" * 256, "with space", "ümlaut", "line\nbreak"])
def test_a_key_that_no_client_means_is_refused(key: str) -> None:
    with pytest.raises(Problem) as caught:
        claim_of(repeatable(key), "alice")
    assert (caught.value.status, caught.value.field) == (400, "Idempotency-Key")


def test_an_answer_too_large_to_keep_says_that_it_was_carried_out() -> None:
    kept = bounded(RepeatedAnswer(200, "text/plain", b"x" * MAX_ANSWER_BYTES))
    dropped = bounded(RepeatedAnswer(200, "text/plain", b"x" * (MAX_ANSWER_BYTES + 1)))
    assert kept.status == 200
    assert (dropped.status, b"answer_not_kept" in dropped.body) == (409, True)


async def _asked(provider: StubProvider, before: int) -> bool:
    return len(provider.requests) > before
