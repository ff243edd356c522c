import asyncio

import pytest

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.spending import (
    Begun,
    BudgetRefused,
    ClaimRefused,
    RepeatedAnswer,
)
from tests.support.store_homes import StoreHome
from tests.support.store_work import (
    BOUNDS,
    FAR,
    account,
    amounts,
    begin,
    begin_turn,
    claim,
    finish,
    now,
    remembered,
    said,
    started,
    turn_of,
)

ANSWER = RepeatedAnswer(200, "application/json", b'{"answer": "\\u0000\xff"}')
OTHER = "c" * 64


async def test_a_finished_request_is_answered_again_on_every_replica(home: StoreHome) -> None:
    one, other = await home.open(), await home.open()
    asked = begin(claim=claim())
    await started(one, asked)
    await one.finish(finish(asked, answer=ANSWER), BOUNDS)
    answers = [await replica.begin(begin(claim=claim()), BOUNDS) for replica in (one, other)]
    assert answers == [ClaimRefused("finished", ANSWER)] * 2


async def test_a_request_in_flight_is_told_so_on_every_replica(home: StoreHome) -> None:
    one, other = await home.open(), await home.open()
    await started(one, begin(claim=claim()))
    answers = [await replica.begin(begin(claim=claim()), BOUNDS) for replica in (one, other)]
    assert answers == [ClaimRefused("in_flight")] * 2


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "in flight"])
async def test_a_key_with_other_content_is_a_conflict(store: StoreOfRecord, finished: bool) -> None:
    asked = begin(claim=claim())
    await started(store, asked)
    if finished:
        await store.finish(finish(asked, answer=ANSWER), BOUNDS)
    assert await store.begin(begin(claim=claim(OTHER)), BOUNDS) == ClaimRefused("conflict")


async def test_of_many_duplicates_at_once_over_replicas_exactly_one_runs(home: StoreHome) -> None:
    replicas = [await home.open() for _ in range(4)]
    answers = await asyncio.gather(
        *(replicas[number % 4].begin(begin(claim=claim()), BOUNDS) for number in range(40))
    )
    assert sum(isinstance(answer, Begun) for answer in answers) == 1
    assert answers.count(ClaimRefused("in_flight")) == 39


async def test_a_request_that_failed_frees_its_key(store: StoreOfRecord) -> None:
    asked = begin(claim=claim())
    await started(store, asked)
    await store.finish(finish(asked), BOUNDS)
    assert isinstance(await store.begin(begin(claim=claim(OTHER)), BOUNDS), Begun)


async def test_a_key_whose_holder_is_gone_is_taken_over_and_stays_taken(home: StoreHome) -> None:
    dead, alive = await home.open(), await home.open()
    lost = begin(claim=claim(lease_until=now() - 1))
    await started(dead, lost)
    assert await alive.begin(begin(claim=claim(OTHER)), BOUNDS) == ClaimRefused("conflict")
    taken = begin(claim=claim())
    await started(alive, taken)

    late = RepeatedAnswer(200, "text/plain", b"late")
    await dead.finish(finish(lost, answer=late), BOUNDS)
    assert await alive.begin(begin(claim=claim()), BOUNDS) == ClaimRefused("in_flight")
    await alive.finish(finish(taken, answer=ANSWER), BOUNDS)
    assert await dead.begin(begin(claim=claim()), BOUNDS) == ClaimRefused("finished", ANSWER)


async def test_a_late_failure_does_not_free_the_key_of_who_took_it_over(home: StoreHome) -> None:
    dead, alive = await home.open(), await home.open()
    lost = begin(claim=claim(lease_until=now() - 1))
    await started(dead, lost)
    await started(alive, begin(claim=claim()))
    await dead.finish(finish(lost), BOUNDS)
    assert await alive.begin(begin(claim=claim()), BOUNDS) == ClaimRefused("in_flight")


async def test_a_renewed_lease_keeps_the_key(home: StoreHome) -> None:
    one, other = await home.open(), await home.open()
    asked = begin(claim=claim(lease_until=now() - 1))
    await started(one, asked)
    assert await one.renew(asked.reservation_id, lease_until=FAR)
    assert await other.begin(begin(claim=claim()), BOUNDS) == ClaimRefused("in_flight")


async def test_an_expired_answer_is_forgotten_and_its_key_free_for_any_content(
    store: StoreOfRecord,
) -> None:
    asked = begin(claim=claim(expires_at=now() - 1))
    await started(store, asked)
    await store.finish(finish(asked, answer=ANSWER), BOUNDS)
    again = begin(claim=claim(OTHER))
    assert isinstance(await store.begin(again, BOUNDS), Begun)
    await store.release_abandoned()
    assert await store.begin(begin(claim=claim(OTHER)), BOUNDS) == ClaimRefused("in_flight")


async def test_keys_belong_to_a_principal_and_an_organization(home: StoreHome) -> None:
    acme, globex = await home.open("acme"), await home.open("globex")
    asked = begin(claim=claim())
    await started(acme, asked)
    await acme.finish(finish(asked, answer=ANSWER), BOUNDS)
    assert isinstance(await acme.begin(begin(claim=claim(principal="you")), BOUNDS), Begun)
    assert isinstance(await globex.begin(begin(claim=claim()), BOUNDS), Begun)


async def test_work_that_is_refused_holds_no_key(store: StoreOfRecord) -> None:
    over = begin(claim=claim(), accounts=(account(tokens="1"),), reserve=amounts(tokens="2"))
    assert isinstance(await store.begin(over, BOUNDS), BudgetRefused)
    with pytest.raises(Problem, match="no such session"):
        await store.begin(begin(claim=claim(), turn=begin_turn()), BOUNDS)
    assert isinstance(await store.begin(begin(claim=claim()), BOUNDS), Begun)


async def test_a_duplicate_neither_reserves_nor_locks(home: StoreHome) -> None:
    one, other = await home.open(), await home.open()
    total = account(tokens="100")
    asked = begin(
        claim=claim(),
        accounts=(total,),
        reserve=amounts(tokens="5"),
        turn=begin_turn(new=True),
    )
    begun = await started(one, asked)
    assert begun.turn is not None
    again = begin(
        claim=claim(), accounts=(total,), reserve=amounts(tokens="5"), turn=begin_turn(new=True)
    )
    assert await other.begin(again, BOUNDS) == ClaimRefused("in_flight")
    (balance,) = await other.balances((total,))
    assert balance.reserved["tokens"] == 5
    ending = finish(asked, turn=remembered(begun.turn, "x"), answer=ANSWER)
    assert (await one.finish(ending, BOUNDS)).turn == "stored"
    assert await said(one) == ["x", "re: x"]


async def test_a_turn_that_was_not_stored_keeps_no_answer(home: StoreHome) -> None:
    slow, other = await home.open(), await home.open()
    request = begin(claim=claim(), turn=begin_turn(new=True, expires_at=now() - 1))
    begun = await started(slow, request)
    assert begun.turn is not None
    await turn_of(other, begin_turn())
    lost = await slow.finish(
        finish(request, turn=remembered(begun.turn, "late"), answer=ANSWER), BOUNDS
    )
    assert lost.turn == "lost"
    assert isinstance(await other.begin(begin(claim=claim()), BOUNDS), Begun)
