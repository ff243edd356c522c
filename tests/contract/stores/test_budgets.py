import asyncio
from decimal import Decimal

import pytest
from msgspec.structs import replace

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.port import Summary
from bulkhead_runtime.store.spending import Account, Begin, Begun, BudgetRefused, Dimension
from tests.support.deadline import until
from tests.support.store_homes import StoreHome
from tests.support.store_work import (
    BOUNDS,
    FAR,
    account,
    amounts,
    begin,
    begin_turn,
    finish,
    line,
    now,
    remembered,
    said,
    started,
    turn_of,
)

NOTHING = Decimal(0)


async def _used(store: StoreOfRecord, one: Account, dimension: Dimension = "cost") -> Decimal:
    (balance,) = await store.balances((one,))
    return balance.used[dimension]


async def _reserved(store: StoreOfRecord, one: Account, dimension: Dimension = "cost") -> Decimal:
    (balance,) = await store.balances((one,))
    return balance.reserved[dimension]


async def test_200_concurrent_calls_over_replicas_never_reserve_more_than_there_is(
    home: StoreHome,
) -> None:
    replicas = [await home.open() for _ in range(4)]
    dollar = account(cost="1")
    call = amounts(cost="0.03")

    async def spend(number: int) -> bool:
        replica = replicas[number % 4]
        asked = begin(accounts=(dollar,), reserve=call)
        answer = await replica.begin(asked, BOUNDS)
        if isinstance(answer, BudgetRefused):
            return False
        assert isinstance(answer, Begun)
        assert answer.balances[0].used["cost"] + answer.balances[0].reserved["cost"] <= 1
        await replica.finish(finish(asked, used=call), BOUNDS)
        return True

    spent = sum(await asyncio.gather(*map(spend, range(200))))
    assert spent == 33
    assert await _used(replicas[0], dollar) == Decimal("0.99")
    assert await _reserved(replicas[0], dollar) == NOTHING


async def test_a_refusal_names_account_dimension_and_rest_and_leaves_nothing_behind(
    store: StoreOfRecord,
) -> None:
    wide = account("day", "2026-11-21", tokens="1000")
    narrow = account("session", "ses_1", tokens="100")
    await started(store, begin(accounts=(wide, narrow), reserve=amounts(tokens="60", cost="1")))
    asked = begin(accounts=(wide, narrow), reserve=amounts(tokens="41"), turn=begin_turn(new=True))
    answer = await store.begin(asked, BOUNDS)
    assert answer == BudgetRefused(narrow, "tokens", Decimal(40))
    assert await _reserved(store, wide, "tokens") == 60
    assert (await store.usage()).sessions == 0
    fitting = begin(accounts=(wide, narrow), reserve=amounts(tokens="40"))
    assert isinstance(await store.begin(fitting, BOUNDS), Begun)


async def test_amounts_stay_exact_where_binary_fractions_would_not(store: StoreOfRecord) -> None:
    total = account()
    tiny = amounts(cost="0.000000000001", tokens="1")
    asked = begin(accounts=(total,), reserve=amounts(cost="0.1"))
    await started(store, asked)
    for _ in range(10):
        await store.reserve(
            asked.reservation_id, (total,), used=tiny, reserve=tiny, lease_until=FAR
        )
    huge = amounts(cost="999999999.999999")
    await store.finish(finish(asked, used=huge), BOUNDS)
    assert await _used(store, total) == Decimal("999999999.999999000010")
    assert await _used(store, total, "tokens") == 10


async def test_the_next_call_is_reserved_only_within_what_the_last_one_left(
    store: StoreOfRecord,
) -> None:
    ten = account(tokens="10")
    asked = begin(accounts=(ten,), reserve=amounts(tokens="8"))
    await started(store, asked)
    fits = await store.reserve(
        asked.reservation_id,
        (ten,),
        used=amounts(tokens="3"),
        reserve=amounts(tokens="7"),
        lease_until=FAR,
    )
    assert isinstance(fits, Begun)
    assert fits.balances[0].used["tokens"] == 3
    assert fits.balances[0].reserved["tokens"] == 7

    refused = await store.reserve(
        asked.reservation_id,
        (ten,),
        used=amounts(tokens="5"),
        reserve=amounts(tokens="3"),
        lease_until=FAR,
    )
    assert refused == BudgetRefused(ten, "tokens", Decimal(2))
    assert await _used(store, ten, "tokens") == 8
    assert await _reserved(store, ten, "tokens") == 0
    finished = await store.finish(finish(asked), BOUNDS)
    assert finished.balances[0].used["tokens"] == 8


async def test_what_was_used_counts_even_beyond_the_limit(store: StoreOfRecord) -> None:
    ten = account(tokens="10")
    asked = begin(accounts=(ten,), reserve=amounts(tokens="10"))
    await started(store, asked)
    finished = await store.finish(finish(asked, used=amounts(tokens="14")), BOUNDS)
    assert finished.balances[0].used["tokens"] == 14
    refused = await store.begin(begin(accounts=(ten,), reserve=amounts(tokens="1")), BOUNDS)
    assert refused == BudgetRefused(ten, "tokens", NOTHING)


async def test_a_raised_limit_takes_effect_at_the_next_reservation(store: StoreOfRecord) -> None:
    call = amounts(cost="0.6")
    await started(store, begin(accounts=(account(cost="1"),), reserve=call))
    assert isinstance(
        await store.begin(begin(accounts=(account(cost="1"),), reserve=call), BOUNDS),
        BudgetRefused,
    )
    await started(store, begin(accounts=(account(cost="2"),), reserve=call))


async def test_work_over_midnight_is_released_from_yesterday_and_counted_today(
    store: StoreOfRecord,
) -> None:
    yesterday = account("day", "2026-11-20", tokens="100")
    today = account("day", "2026-11-21", tokens="100")
    asked = begin(accounts=(yesterday,), reserve=amounts(tokens="9"))
    await started(store, asked)
    await store.finish(finish(asked, accounts=(today,), used=amounts(tokens="4")), BOUNDS)
    assert await _reserved(store, yesterday, "tokens") == 0
    assert await _used(store, yesterday, "tokens") == 0
    assert await _used(store, today, "tokens") == 4


async def test_a_finish_that_is_repeated_is_settled_once(store: StoreOfRecord) -> None:
    total = account()
    asked = begin(accounts=(total,), reserve=amounts(cost="1"))
    await started(store, asked)
    ending = finish(asked, used=amounts(cost="0.25"), lines=(line(cost=Decimal("0.25")),))
    await store.finish(ending, BOUNDS)
    await store.finish(ending, BOUNDS)
    assert await _used(store, total) == Decimal("0.25")


async def test_abandoned_work_counts_in_full_and_the_ledger_explains_it(home: StoreHome) -> None:
    dead, alive = await home.open(), await home.open()
    total = account(cost="1")
    asked = begin(
        accounts=(total,), reserve=amounts(cost="0.4", tokens="70"), lease_until=now() - 1
    )
    await started(dead, asked)
    assert await alive.release_abandoned() == 1
    assert await alive.release_abandoned() == 0

    page = await alive.ledger(since=0, until=FAR, principal=None, limit=10, cursor=None)
    (use,) = page.items
    assert await _used(alive, total) == Decimal("0.4")
    assert await _reserved(alive, total) == NOTHING
    assert (use.type, use.cost, use.input_tokens) == ("abandoned", Decimal("0.4"), 70)
    assert (use.principal, use.agent) == ("me", "assistant")


async def test_work_that_was_given_up_cannot_go_on_but_what_it_used_counts(
    home: StoreHome,
) -> None:
    slow, other = await home.open(), await home.open()
    total = account()
    asked = begin(accounts=(total,), reserve=amounts(tokens="5"), lease_until=now() - 1)
    await started(slow, asked)
    await other.release_abandoned()
    with pytest.raises(Problem) as refused:
        await slow.reserve(
            asked.reservation_id,
            (total,),
            used=amounts(tokens="2"),
            reserve=amounts(tokens="5"),
            lease_until=FAR,
        )
    assert refused.value.code == "reservation_gone"
    assert await _used(other, total, "tokens") == 7
    assert await _reserved(other, total, "tokens") == 0


async def test_work_whose_lease_is_renewed_is_not_given_up(home: StoreHome) -> None:
    one, other = await home.open(), await home.open()
    asked = begin(accounts=(account(),), reserve=amounts(tokens="5"), lease_until=now() - 1)
    await started(one, asked)
    assert await one.renew(asked.reservation_id, lease_until=FAR)
    assert await other.release_abandoned() == 0


async def test_what_calls_used_before_a_process_died_is_in_the_ledger_already(
    home: StoreHome,
) -> None:
    dying, other = await home.open(), await home.open()
    total = account()
    asked = begin(accounts=(total,), reserve=amounts(tokens="9"))
    await started(dying, asked)
    await dying.reserve(
        asked.reservation_id,
        (total,),
        used=amounts(tokens="8"),
        reserve=amounts(tokens="10"),
        lease_until=now() - 1,
        lines=(line(id="use_1"),),
    )
    await other.release_abandoned()
    page = await other.ledger(since=0, until=FAR, principal=None, limit=10, cursor=None)
    assert sorted(use.type for use in page.items) == ["abandoned", "model"]
    counted = sum(use.input_tokens + use.output_tokens for use in page.items)
    assert counted == await _used(other, total, "tokens") == 18


async def test_lines_that_come_again_with_the_finish_count_once(store: StoreOfRecord) -> None:
    asked, turn = await turn_of(store, begin_turn(new=True))
    first, second = line(id="use_1"), line(id="use_2")
    await store.reserve(
        asked.reservation_id, (), used={}, reserve={}, lease_until=FAR, lines=(first,)
    )
    again = replace(first, model="another/model")
    ending = finish(asked, turn=remembered(turn, "x"), lines=(again, second))
    await store.finish(ending, BOUNDS)
    page = await store.ledger(since=0, until=FAR, principal=None, limit=10, cursor=None)
    session = await store.session("ses_1", "me", BOUNDS)
    assert page.items == (second, first)
    assert (session.input_tokens, session.output_tokens, session.cost) == (6, 10, "0.2")


async def test_two_organizations_have_accounts_of_their_own(home: StoreHome) -> None:
    acme, globex = await home.open("acme"), await home.open("globex")
    one = account(cost="1")
    await started(acme, begin(accounts=(one,), reserve=amounts(cost="1")))
    await started(globex, begin(accounts=(one,), reserve=amounts(cost="1")))
    assert isinstance(
        await acme.begin(begin(accounts=(one,), reserve=amounts(cost="0.000001")), BOUNDS),
        BudgetRefused,
    )


async def test_a_session_that_leaves_for_good_takes_its_account_along(
    store: StoreOfRecord,
) -> None:
    of_session = account("session", "ses_1")
    asked = begin(accounts=(of_session,), turn=begin_turn(new=True))
    begun = await started(store, asked)
    assert begun.turn is not None
    await store.finish(
        finish(asked, used=amounts(tokens="4"), turn=remembered(begun.turn, "x")), BOUNDS
    )
    await store.delete("ses_1", "me")
    assert await _used(store, of_session, "tokens") == 4

    async def removed() -> bool:
        return bool((await store.sweep(replace(BOUNDS, retention_seconds=0))).removed)

    await until(removed, "the archived session leaves for good")
    assert await _used(store, of_session, "tokens") == 0


async def test_a_summary_its_ledger_line_and_its_settlement_are_one_step(
    store: StoreOfRecord,
) -> None:
    total = account()
    _, turn = await turn_of(store, begin_turn(new=True))
    asked: Begin = begin(accounts=(total,), reserve=amounts(tokens="50"))
    await started(store, asked)
    await store.finish(
        finish(
            asked,
            used=amounts(tokens="8"),
            lines=(line(type="compaction", session_id="ses_1"),),
            summary=Summary("ses_1", "so far", 2),
        ),
        BOUNDS,
    )
    session = await store.session("ses_1", "me", BOUNDS)
    assert (session.summary, session.status) == ("so far", "executing")
    assert await _used(store, total, "tokens") == 8
    assert await said(store) == []
    assert turn.summary is None


async def test_work_that_nothing_bounded_never_began_and_counts_at_its_end_once(
    store: StoreOfRecord,
) -> None:
    """Its lines tell whether it was counted: the same end may be asked for again."""
    free = account("day", "2026-11-21")
    ending = finish(begin(accounts=(free,)), used=amounts(tokens="8"), lines=(line(),))
    await store.finish(ending, BOUNDS)
    await store.finish(ending, BOUNDS)
    (balance,) = await store.balances((free,))
    assert balance.used["tokens"] == 8
