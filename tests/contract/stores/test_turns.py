import asyncio

import pytest
from msgspec.structs import replace

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.models.port import ModelMessage, ToolCall
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.port import PoolBounds, Summary
from bulkhead_runtime.store.spending import TurnEnd
from bulkhead_runtime.store.states import IllegalTransitionError
from tests.support.store_homes import StoreHome
from tests.support.store_work import (
    BOUNDS,
    begin,
    begin_turn,
    finish,
    limited,
    line,
    new_session,
    now,
    remembered,
    said,
    say,
    started,
    turn_of,
)


async def test_a_finished_turn_is_there_for_every_replica(home: StoreHome) -> None:
    one, other = await home.open(), await home.open()
    await say(one, "hello", new=True)
    session = await other.session("ses_1", "me", BOUNDS)
    assert await said(other) == ["hello", "re: hello"]
    assert (session.turns, session.messages, session.status) == (1, 2, "completed")
    assert (session.input_tokens, session.output_tokens, session.cost) == (3, 5, "0.1")


async def test_the_next_turn_sees_the_tail_and_costs_add_up_exactly(store: StoreOfRecord) -> None:
    await say(store, "one", new=True)
    await say(store, "two")
    _, turn = await turn_of(store, begin_turn())
    assert [message.content for message in turn.history] == ["one", "re: one", "two", "re: two"]
    assert (turn.number, turn.first_sequence) == (3, 1)
    assert (await store.session("ses_1", "me", BOUNDS)).cost == "0.2"


async def test_the_tail_begins_with_a_user_even_when_it_cuts_a_turn(store: StoreOfRecord) -> None:
    await say(store, "one", new=True)
    await say(store, "two")
    _, turn = await turn_of(store, begin_turn(tail=3))
    assert [message.content for message in turn.history] == ["two", "re: two"]
    assert turn.first_sequence == 3


async def test_tool_calls_and_results_come_back_as_they_were(store: StoreOfRecord) -> None:
    messages = (
        ModelMessage("user", "time?"),
        ModelMessage("assistant", "", (ToolCall("c1", "current_time", '{"timezone":"UTC"}'),)),
        ModelMessage("tool", '{"ok":true}', tool_call_id="c1"),
        ModelMessage("assistant", "noon \u2713 'quoted' \\ \U0001f600"),
    )
    asked, turn = await turn_of(store, begin_turn(new=True))
    await store.finish(finish(asked, turn=TurnEnd(turn, "completed", messages)), BOUNDS)
    page = await store.messages("ses_1", "me", BOUNDS, limit=10, cursor=None)
    assert tuple(item.message for item in page.items) == messages
    _, later = await turn_of(store, begin_turn())
    assert later.history == messages


async def test_two_replicas_never_hold_one_session_at_once(home: StoreHome) -> None:
    one, other = await home.open(), await home.open()
    asked, turn = await turn_of(one, begin_turn(new=True))
    with pytest.raises(Problem) as refused:
        await other.begin(begin(turn=begin_turn()), BOUNDS)
    assert (refused.value.status, refused.value.code) == (409, "session_busy")
    assert refused.value.retry_after is not None

    await one.finish(finish(asked, turn=remembered(turn, "x")), BOUNDS)
    _, next_turn = await turn_of(other, begin_turn())
    assert next_turn.fence > turn.fence


async def test_a_holder_that_lost_its_session_stores_nothing_but_what_it_used(
    home: StoreHome,
) -> None:
    slow, other = await home.open(), await home.open()
    asked, lost = await turn_of(slow, begin_turn(new=True, expires_at=now() - 1))
    took, taken = await turn_of(other, begin_turn())
    before = await slow.usage()

    late = await slow.finish(
        finish(asked, turn=remembered(lost, "late"), lines=(line(id="use_late"),)), BOUNDS
    )
    assert await slow.usage() == before
    await other.finish(finish(took, turn=remembered(taken, "in time")), BOUNDS)

    page = await other.ledger(since=0, until=2**62, principal=None, limit=10, cursor=None)
    assert late.turn == "lost"
    assert await said(other) == ["in time", "re: in time"]
    assert [use.id for use in page.items] == ["use_late"]


async def test_a_holder_that_lost_its_session_learns_it_when_it_goes_on(home: StoreHome) -> None:
    slow, other = await home.open(), await home.open()
    asked, turn = await turn_of(slow, begin_turn(new=True, expires_at=now() - 1))
    await turn_of(other, begin_turn())
    assert not await slow.renew(asked.reservation_id, lease_until=now() + 60_000)
    assert not await slow.mark(turn, "planning")
    with pytest.raises(Problem) as refused:
        await slow.reserve(asked.reservation_id, (), used={}, reserve={}, lease_until=now() + 1)
    assert refused.value.code == "turn_lost"


async def test_the_session_of_a_turn_that_was_given_up_shows_it_and_is_free(
    home: StoreHome,
) -> None:
    hung, other = await home.open(), await home.open()
    asked = begin(turn=begin_turn(new=True, expires_at=now() - 1), lease_until=now() - 1)
    begun = await started(hung, asked)
    assert begun.turn is not None
    assert await other.release_abandoned() == 1
    assert (await other.session("ses_1", "me", BOUNDS)).status == "interrupted"

    await say(other, "again")
    late = await hung.finish(finish(asked, turn=remembered(begun.turn, "late")), BOUNDS)
    assert late.turn == "lost"
    assert await said(other) == ["again", "re: again"]


async def test_a_renewed_turn_keeps_its_session_beyond_its_first_lease(home: StoreHome) -> None:
    one, other = await home.open(), await home.open()
    asked, turn = await turn_of(one, begin_turn(new=True, expires_at=now() - 1))
    assert await one.renew(asked.reservation_id, lease_until=now() + 60_000)
    with pytest.raises(Problem, match="Another turn"):
        await other.begin(begin(turn=begin_turn()), BOUNDS)
    finished = await one.finish(finish(asked, turn=remembered(turn, "long")), BOUNDS)
    assert finished.turn == "stored"


async def test_a_finish_that_is_repeated_changes_nothing(store: StoreOfRecord) -> None:
    asked, turn = await turn_of(store, begin_turn(new=True))
    ending = finish(asked, turn=remembered(turn, "once"), lines=(line(),))
    first = await store.finish(ending, BOUNDS)
    held = await store.usage()
    again = await store.finish(ending, BOUNDS)
    session = await store.session("ses_1", "me", BOUNDS)
    assert await store.usage() == held
    assert first.turn == again.turn == "stored"
    assert await said(store) == ["once", "re: once"]
    assert (session.turns, session.output_tokens) == (1, 5)


async def test_a_turn_without_messages_frees_the_session_and_is_not_counted(
    store: StoreOfRecord,
) -> None:
    asked, turn = await turn_of(store, begin_turn(new=True))
    await store.finish(finish(asked, turn=TurnEnd(turn, "interrupted", ())), BOUNDS)
    session = await store.session("ses_1", "me", BOUNDS)
    assert (session.status, session.turns, session.messages) == ("interrupted", 0, 0)
    await say(store, "again")
    assert await said(store) == ["again", "re: again"]


async def test_a_running_turn_shows_the_states_that_the_table_allows(store: StoreOfRecord) -> None:
    _, turn = await turn_of(store, begin_turn(new=True))
    assert (await store.session("ses_1", "me", BOUNDS)).status == "executing"
    assert await store.mark(turn, "executing_queued")
    assert (await store.session("ses_1", "me", BOUNDS)).status == "executing_queued"
    with pytest.raises(IllegalTransitionError, match="from executing_queued to idle"):
        await store.mark(turn, "idle")


async def test_a_summary_stands_for_the_messages_before_it_and_they_stay_readable(
    store: StoreOfRecord,
) -> None:
    for text in ("one", "two", "three"):
        await say(store, text, new=text == "one")
    asked = begin()
    await started(store, asked)
    await store.finish(finish(asked, summary=Summary("ses_1", "they counted", 4)), BOUNDS)

    _, turn = await turn_of(store, begin_turn())
    assert (turn.summary, turn.summary_until, turn.compactions) == ("they counted", 4, 1)
    assert [message.content for message in turn.history] == ["three", "re: three"]
    assert turn.first_sequence == 5
    assert len(await said(store)) == 6


async def test_a_summary_that_reaches_no_further_changes_nothing(store: StoreOfRecord) -> None:
    await say(store, "one", new=True)
    for text in ("first", "late"):
        asked = begin()
        await started(store, asked)
        await store.finish(finish(asked, summary=Summary("ses_1", text, 2)), BOUNDS)
    session = await store.session("ses_1", "me", BOUNDS)
    assert (session.summary, session.compactions) == ("first", 1)


async def test_the_size_of_the_context_is_what_the_last_turn_that_told_it_sent(
    store: StoreOfRecord,
) -> None:
    asked, turn = await turn_of(store, begin_turn(new=True))
    await store.finish(finish(asked, turn=remembered(turn, "x", context_tokens=70)), BOUNDS)
    await say(store, "without telling")
    assert (await store.session("ses_1", "me", BOUNDS)).context_tokens == 70


async def test_what_a_session_begins_with_is_told_again(store: StoreOfRecord) -> None:
    new = new_session(metadata={"team": "blue"}, title="Plans", autonomy_level="L2")
    await store.create(new, BOUNDS)
    session = await store.session("ses_1", "me", BOUNDS)
    _, turn = await turn_of(store, begin_turn())
    assert (session.metadata, session.title, session.status) == ({"team": "blue"}, "Plans", "idle")
    assert (session.autonomy_level, turn.autonomy_level) == ("L2", "L2")


async def test_a_session_that_moves_to_another_version_is_counted_there(
    store: StoreOfRecord,
) -> None:
    await say(store, "one", new=True)
    asked, turn = await turn_of(store, replace(begin_turn(), version="2.0.0"))
    await store.finish(finish(asked, turn=remembered(turn, "two")), BOUNDS)
    assert (await store.session("ses_1", "me", BOUNDS)).version == "2.0.0"
    assert await store.sessions_by_version() == {("helper", "2.0.0"): 1}


async def test_a_full_pool_refuses_the_turn_before_it_runs_and_leaves_no_session(
    store: StoreOfRecord,
) -> None:
    tiny = PoolBounds("small", 1, None)
    with pytest.raises(Problem, match=r"'small' has no room.*maxMemoryMB is 1") as refused:
        await store.begin(begin(turn=begin_turn(new=True, expected_bytes=2**20)), tiny)
    assert refused.value.status == 507
    assert (await store.usage()).sessions == 0


async def test_an_answer_that_does_not_fit_is_refused_whole_but_what_it_used_counts(
    store: StoreOfRecord,
) -> None:
    tiny = PoolBounds("small", 1, None)
    asked, turn = await turn_of(store, begin_turn(new=True), tiny)
    huge = (ModelMessage("user", "x"), ModelMessage("assistant", "y" * 2**20))
    finished = await store.finish(
        finish(asked, turn=TurnEnd(turn, "completed", huge), lines=(line(),)), tiny
    )
    session = await store.session("ses_1", "me", tiny)
    assert finished.turn == "pool_full"
    assert (session.messages, session.status, session.output_tokens) == (0, "error", 5)
    await turn_of(store, begin_turn(), tiny)


async def test_no_more_sessions_are_in_a_turn_than_may_over_all_replicas(home: StoreHome) -> None:
    one, other = await home.open(), await home.open()
    two = limited(parallel=2)
    asked, turn = await turn_of(one, begin_turn("ses_1", new=True), two)
    await turn_of(other, begin_turn("ses_2", new=True), two)
    with pytest.raises(Problem, match="maxParallelSessions") as refused:
        await one.begin(begin(turn=begin_turn("ses_3", new=True)), two)
    assert (refused.value.status, refused.value.code) == (429, "too_many_parallel_sessions")

    await one.finish(finish(asked, turn=remembered(turn, "done")), two)
    await turn_of(one, begin_turn("ses_3", new=True), two)


async def test_a_session_with_as_many_messages_as_it_may_takes_no_more(
    store: StoreOfRecord,
) -> None:
    await say(store, "one", new=True)
    with pytest.raises(Problem, match="has 2 messages") as refused:
        await store.begin(begin(turn=begin_turn()), limited(messages=2))
    assert refused.value.code == "session_full"
    await turn_of(store, begin_turn(), limited(messages=3))


async def test_turns_of_many_sessions_at_once_neither_mix_nor_get_lost(home: StoreHome) -> None:
    replicas = [await home.open() for _ in range(3)]

    async def talk(number: int) -> None:
        session_id = f"ses_{number}"
        for turn in range(3):
            replica = replicas[(number + turn) % 3]
            await say(replica, f"{number}.{turn}", session_id, new=turn == 0)

    await asyncio.gather(*map(talk, range(12)))
    for number in range(12):
        texts = [f"{number}.{turn}" for turn in range(3)]
        expected = [word for text in texts for word in (text, f"re: {text}")]
        assert await said(replicas[0], f"ses_{number}") == expected


async def test_the_end_of_a_turn_is_asked_for_by_any_replica_and_for_that_turn_alone(
    home: StoreHome,
) -> None:
    one, other = await home.open(), await home.open()
    asked, turn = await turn_of(one, begin_turn(new=True))
    assert await one.interrupted((turn,)) == frozenset()
    assert await other.interrupt("ses_1")
    assert await other.interrupt("ses_1"), "asking again changes nothing"
    assert await one.interrupted((turn,)) == {"ses_1"}
    await one.finish(finish(asked, turn=TurnEnd(turn, "interrupted", ())), BOUNDS)
    _, following = await turn_of(one, begin_turn())
    assert await one.interrupted((following,)) == frozenset()


async def test_nothing_is_interrupted_where_no_turn_runs(store: StoreOfRecord) -> None:
    await say(store, "hello", new=True)
    assert not await store.interrupt("ses_1")
    assert not await store.interrupt("ses_none")
