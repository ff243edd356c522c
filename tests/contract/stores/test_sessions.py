import asyncio

import pytest
from msgspec.structs import replace

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.port import PoolBounds, SessionPage
from bulkhead_runtime.store.spending import TurnEnd
from tests.support.deadline import until
from tests.support.store_homes import StoreHome
from tests.support.store_work import (
    BOUNDS,
    begin,
    begin_turn,
    every,
    finish,
    limited,
    new_session,
    remembered,
    said,
    say,
    turn_of,
)


async def _listed(
    store: StoreOfRecord, principal: str | None = "me", bounds: PoolBounds = BOUNDS
) -> list[str]:
    async def page(cursor: str | None) -> SessionPage:
        return await store.sessions(principal, bounds, limit=3, cursor=cursor)

    return [session.id async for session in every(page)]


async def test_sessions_come_in_pages_newest_first_without_gap_or_repeat(
    store: StoreOfRecord,
) -> None:
    for number in range(7):
        await store.create(new_session(f"ses_{number}"), BOUNDS)
    listed = await _listed(store)
    created = [(await store.session(name, "me", BOUNDS)).created_at for name in listed]
    assert sorted(listed) == [f"ses_{number}" for number in range(7)]
    assert created == sorted(created, reverse=True)


async def test_messages_come_in_pages_oldest_first_without_gap_or_repeat(
    store: StoreOfRecord,
) -> None:
    for number in range(3):
        await say(store, str(number), new=number == 0)
    found, cursor = [], None
    while True:
        page = await store.messages("ses_1", "me", BOUNDS, limit=4, cursor=cursor)
        found += [(item.sequence, item.turn) for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)]


@pytest.mark.parametrize("cursor", ["x", "-1", "9" * 40, "1e3", "٣", "1.'; --"])
async def test_a_cursor_that_no_page_gave_out_is_refused_or_finds_nothing(
    store: StoreOfRecord, cursor: str
) -> None:
    await say(store, "hello", new=True)
    with pytest.raises(Problem, match="`cursor` must be") as refused:
        await store.messages("ses_1", "me", BOUNDS, limit=3, cursor=cursor)
    assert refused.value.status == 422


async def test_another_principals_session_is_indistinguishable_from_none(
    store: StoreOfRecord,
) -> None:
    await say(store, "mine", new=True)
    answers = []
    for session_id in ("ses_1", "ses_none"):
        for attempt in (
            store.session(session_id, "you", BOUNDS),
            store.messages(session_id, "you", BOUNDS, limit=3, cursor=None),
            store.begin(begin(turn=begin_turn(session_id, principal="you")), BOUNDS),
            store.delete(session_id, "you"),
        ):
            with pytest.raises(Problem) as refused:
                await attempt
            answers.append((refused.value.status, refused.value.code, refused.value.message))
    assert len(set(answers)) == 1
    assert await _listed(store, "you") == []
    assert await said(store) == ["mine", "re: mine"]


async def test_who_may_see_all_sees_the_sessions_of_every_principal(store: StoreOfRecord) -> None:
    await say(store, "mine", new=True)
    await say(store, "yours", "ses_2", new=True, principal="you")
    assert sorted(await _listed(store, None)) == ["ses_1", "ses_2"]
    assert (await store.session("ses_2", None, BOUNDS)).principal == "you"
    page = await store.messages("ses_2", None, BOUNDS, limit=10, cursor=None)
    assert [item.message.content for item in page.items] == ["yours", "re: yours"]


async def test_two_organizations_share_nothing_that_has_a_name(home: StoreHome) -> None:
    acme, globex = await home.open("acme"), await home.open("globex")
    await say(acme, "secret", new=True)
    with pytest.raises(Problem, match="no such session"):
        await globex.session("ses_1", None, BOUNDS)
    with pytest.raises(Problem, match="no such session"):
        await globex.begin(begin(turn=begin_turn()), BOUNDS)
    with pytest.raises(Problem, match="no such session"):
        await globex.delete("ses_1", None)
    await say(globex, "own", new=True)

    assert await said(acme) == ["secret", "re: secret"]
    assert await said(globex) == ["own", "re: own"]
    assert await _listed(globex, None) == ["ses_1"]
    assert (await globex.usage()).sessions == 1


async def test_a_deleted_session_reads_as_none_and_its_ledger_stays(store: StoreOfRecord) -> None:
    await say(store, "gone", new=True)
    await say(store, "stays", "ses_2", new=True)
    await store.delete("ses_1", "me")

    for attempt in (
        store.session("ses_1", None, BOUNDS),
        store.messages("ses_1", None, BOUNDS, limit=3, cursor=None),
        store.begin(begin(turn=begin_turn()), BOUNDS),
        store.delete("ses_1", "me"),
    ):
        with pytest.raises(Problem, match="no such session"):
            await attempt
    page = await store.ledger(since=0, until=2**62, principal=None, limit=10, cursor=None)
    assert await _listed(store) == ["ses_2"]
    assert [use.session_id for use in page.items] == ["ses_2", "ses_1"]
    assert await store.sessions_by_version() == {("helper", "1.0.0"): 1}


async def test_deleting_a_session_in_a_turn_takes_it_from_the_turn(store: StoreOfRecord) -> None:
    asked, turn = await turn_of(store, begin_turn(new=True))
    await store.delete("ses_1", "me")
    assert await store.interrupted((turn,)) == {"ses_1"}
    finished = await store.finish(finish(asked, turn=remembered(turn, "late")), BOUNDS)
    assert finished.turn == "lost"
    assert (await store.usage()).sessions == 0


async def test_the_pools_counters_return_to_zero_and_the_archive_counts_apart(
    store: StoreOfRecord,
) -> None:
    for number in range(4):
        await say(store, "hello" * number, f"ses_{number}", new=True)
    before = await store.usage()
    for number in range(4):
        await store.delete(f"ses_{number}", "me")
    after = await store.usage()
    assert before.sessions == 4
    assert before.used_bytes > 4 * 512
    assert (after.used_bytes, after.sessions) == (0, 0)
    assert after.archived_bytes == before.used_bytes
    assert await store.sessions_by_version() == {}


async def test_archived_sessions_give_way_when_a_turn_needs_their_room(
    store: StoreOfRecord,
) -> None:
    tiny = PoolBounds("small", 1, None)
    big = (ModelMessage("user", "x"), ModelMessage("assistant", "y" * 800_000))
    for number in range(3):
        asked, turn = await turn_of(store, begin_turn(f"ses_{number}", new=True), tiny)
        stored = await store.finish(finish(asked, turn=TurnEnd(turn, "completed", big)), tiny)
        assert stored.turn == "stored"
        await store.delete(f"ses_{number}", "me")
    assert (await store.usage()).archived_bytes < tiny.max_bytes


async def test_a_session_without_activity_expires_is_told_once_and_leaves(
    store: StoreOfRecord,
) -> None:
    await say(store, "old", new=True)
    at_once = limited(expire_after_seconds=0)
    expired: list[str] = []

    async def gone() -> bool:
        swept = await store.sweep(at_once)
        expired.extend(session.id for session in swept.expired)
        return bool(expired)

    await until(gone, "the session expires")
    assert (await store.sweep(at_once)).expired == ()
    assert expired == ["ses_1"]
    assert await _listed(store) == []

    async def removed() -> bool:
        return bool((await store.sweep(replace(BOUNDS, retention_seconds=0))).removed)

    await until(removed, "the archived session leaves for good")
    assert (await store.usage()).archived_bytes == 0


async def test_an_expired_session_reads_as_none_before_any_sweep(store: StoreOfRecord) -> None:
    await say(store, "old", new=True)
    at_once = limited(expire_after_seconds=0)

    async def none() -> bool:
        try:
            await store.session("ses_1", "me", at_once)
        except Problem as problem:
            return problem.code == "unknown_session"
        return False

    await until(none, "the session reads as none")
    assert await _listed(store, bounds=at_once) == []
    with pytest.raises(Problem, match="no such session"):
        await store.begin(begin(turn=begin_turn()), at_once)
    session = await store.session("ses_1", "me", limited(expire_after_seconds=60))
    assert session.expires_at == session.updated_at + 60_000


async def test_a_session_in_a_turn_does_not_expire(store: StoreOfRecord) -> None:
    await turn_of(store, begin_turn(new=True))
    await say(store, "quiet", "ses_2", new=True)
    expired: set[str] = set()

    async def other_expired() -> bool:
        swept = await store.sweep(limited(expire_after_seconds=0))
        expired.update(session.id for session in swept.expired)
        return "ses_2" in expired

    await until(other_expired, "the quiet session expires")
    assert expired == {"ses_2"}
    assert (await store.session("ses_1", "me", BOUNDS)).status == "executing"


async def test_a_sweep_tells_when_the_next_one_is_due(store: StoreOfRecord) -> None:
    hour = limited(expire_after_seconds=3600)
    assert (await store.sweep(hour)).due_at is None
    await say(store, "hello", new=True)
    session = await store.session("ses_1", "me", BOUNDS)
    assert (await store.sweep(hour)).due_at == session.updated_at + 3_600_000


async def test_a_principal_has_no_more_sessions_than_may_until_one_is_deleted(
    store: StoreOfRecord,
) -> None:
    two = limited(per_principal=2)
    await store.create(new_session("ses_1"), two)
    await store.create(new_session("ses_2"), two)
    for attempt in (
        store.create(new_session("ses_3"), two),
        store.begin(begin(turn=begin_turn("ses_3", new=True)), two),
    ):
        with pytest.raises(Problem, match="maxSessionsPerPrincipal") as refused:
            await attempt
        assert refused.value.code == "too_many_sessions"
    await store.create(new_session("ses_of_you", "you"), two)
    await store.delete("ses_1", "me")
    await store.create(new_session("ses_3"), two)
    assert sorted(await _listed(store)) == ["ses_2", "ses_3"]


async def test_no_more_sessions_begin_within_a_minute_than_may(home: StoreHome) -> None:
    one, other = await home.open(), await home.open()
    three = limited(per_minute=3)
    attempts = [
        replica.create(new_session(f"ses_{number}"), three)
        for number, replica in enumerate([one, other] * 3)
    ]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    refused = [result for result in results if isinstance(result, Problem)]
    assert len(refused) == 3
    assert {problem.status for problem in refused} == {429}
    assert all(0 < (problem.retry_after or 0) <= 61 for problem in refused)
    assert len(await _listed(one)) == 3
