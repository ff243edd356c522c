import asyncio
import random
from collections import defaultdict
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.events.port import Event
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.records import (
    MAX_POLICIES,
    EventFilter,
    LedgerPage,
    StoredKey,
    StoredPolicy,
    UsageGroup,
    UsageRow,
)
from bulkhead_runtime.store.spending import Account, LedgerLine
from tests.support.store_homes import StoreHome
from tests.support.store_work import (
    BOUNDS,
    FAR,
    begin,
    begin_turn,
    every,
    finish,
    line,
    remembered,
    started,
    turn_of,
    unique,
)

DAY = 24 * 3600 * 1000
NOON = 20_000 * DAY + DAY // 2
TOTAL = Account("total", "", {"tokens": Decimal(1000)})


def _event(kind: str = "turn.start", **parts: Any) -> Event:
    given: dict[str, Any] = {"id": unique("evt"), "type": kind, "at": NOON, "principal": "me"}
    return Event(**(given | parts))


async def _write(store: StoreOfRecord, *lines: LedgerLine) -> None:
    asked = begin()
    await started(store, asked)
    await store.finish(finish(asked, lines=lines), BOUNDS)


async def _all_events(store: StoreOfRecord, **wanted: Any) -> list[Event]:
    found = await store.events(EventFilter(**wanted), limit=1000)
    return [stored.event for stored in found]


async def test_events_come_back_in_order_and_as_they_were(store: StoreOfRecord) -> None:
    events = tuple(
        _event(
            kind,
            session_id="ses_1",
            trace_id="t" * 32,
            run_id="run_1",
            data={"tokens": number, "words": ["\u2713", None, {"deep": 0.5}]},
        )
        for number, kind in enumerate(("turn.start", "tool.denied", "turn.end"))
    )
    await store.append_events(events)
    assert await _all_events(store) == list(events)


async def test_pages_of_events_have_neither_gap_nor_repeat_while_others_write(
    home: StoreHome,
) -> None:
    replicas = [await home.open() for _ in range(3)]
    written = [[_event(data={"writer": writer, "n": n}) for n in range(20)] for writer in range(3)]

    async def write(number: int) -> None:
        for event in written[number]:
            await replicas[number].append_events((event,))

    async def read() -> list[Event]:
        found: list[Event] = []
        after = 0
        while len(found) < 60:
            page = await replicas[0].events(EventFilter(after=after), limit=7)
            found += [stored.event for stored in page]
            after = page[-1].sequence if page else after
            await asyncio.sleep(0)
        return found

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        reading = group.create_task(read())
        for number in range(3):
            group.create_task(write(number))
    found = reading.result()
    assert sorted(event.id for event in found) == sorted(
        event.id for events in written for event in events
    )
    for writer in range(3):
        assert [event for event in found if event.data["writer"] == writer] == written[writer]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param({"types": ("a", "b")}, [0, 1, 3], id="of these types"),
        pytest.param({"session_id": "ses_1"}, [0, 2], id="of this session"),
        pytest.param({"trace_id": "t1"}, [1], id="of this trace"),
        pytest.param({"principal": "you"}, [3], id="of this principal"),
        pytest.param({"types": ("a",), "session_id": "ses_1"}, [0], id="of both"),
        pytest.param({"types": ("none",)}, [], id="of none"),
    ],
)
async def test_a_filter_finds_the_events(
    store: StoreOfRecord, wanted: dict[str, object], found: list[int]
) -> None:
    events = (
        _event("a", session_id="ses_1"),
        _event("b", trace_id="t1"),
        _event("c", session_id="ses_1"),
        _event("a", principal="you"),
    )
    await store.append_events(events)
    assert await _all_events(store, **wanted) == [events[number] for number in found]


async def test_the_newest_of_more_events_than_asked_for_come_in_order_too(
    store: StoreOfRecord,
) -> None:
    events = tuple(_event(kind) for kind in "abababa")
    await store.append_events(events)
    page = await store.events(EventFilter(types=("a",), newest=True), limit=2)
    assert [stored.event for stored in page] == [events[4], events[6]]
    (first, *_) = page
    page = await store.events(EventFilter(after=first.sequence, newest=True), limit=5)
    assert [stored.event for stored in page] == list(events[5:])


async def test_events_of_a_finish_are_there_with_its_turn(store: StoreOfRecord) -> None:
    asked, turn = await turn_of(store, begin_turn(new=True))
    event = _event("turn.complete", session_id="ses_1")
    ending = finish(asked, turn=remembered(turn, "x"), events=(event,))
    await store.finish(ending, BOUNDS)
    await store.finish(ending, BOUNDS)
    assert await _all_events(store) == [event]


async def test_old_events_are_removed_oldest_first_a_bounded_number_at_once(
    store: StoreOfRecord,
) -> None:
    await store.append_events(tuple(_event(at=NOON + number) for number in range(5)))
    remove = partial(store.remove_events, before=NOON + 4, keep=100, limit=3)
    assert await remove() == 3
    assert [event.at for event in await _all_events(store)] == [NOON + 3, NOON + 4]
    assert await remove() == 1
    assert await remove() == 0
    await store.append_events((_event(at=NOON + 5),))
    (*_, newest) = await store.events(EventFilter(), limit=10)
    assert newest.sequence == 6


async def test_events_beyond_the_most_that_are_kept_leave_oldest_first_whatever_their_age(
    store: StoreOfRecord,
) -> None:
    await store.append_events(tuple(_event(at=NOON + number) for number in range(8)))
    remove = partial(store.remove_events, before=NOON + 1, keep=3, limit=4)
    assert await remove() == 4
    assert [event.at for event in await _all_events(store)] == [NOON + at for at in (4, 5, 6, 7)]
    assert await remove() == 1
    assert await remove() == 0
    assert [event.at for event in await _all_events(store)] == [NOON + at for at in (5, 6, 7)]


async def test_organizations_do_not_see_each_others_records(home: StoreHome) -> None:
    acme, globex = await home.open("acme"), await home.open("globex")
    await acme.append_events((_event(session_id="ses_1"),))
    await _write(acme, line())
    await acme.put_policy(StoredPolicy("tool", "mine", "{}", "me", NOON))
    await acme.put_key(StoredKey("mine", "d" * 64, "me", ("*",), NOON, None))
    assert await globex.events(EventFilter(), limit=10) == ()
    assert await globex.events(EventFilter(session_id="ses_1"), limit=10) == ()
    assert await globex.usage_by((), since=0, until=FAR, principal=None) == ()
    page = await globex.ledger(since=0, until=FAR, principal=None, limit=10, cursor=None)
    assert (page.items, await globex.policies(), await globex.keys()) == ((), (), ())
    assert not await globex.delete_policy("tool", "mine")
    assert not await globex.delete_key("mine")
    assert len(await acme.keys()) == 1


def _random_lines(count: int) -> list[LedgerLine]:
    pick = random.Random(4)
    return [
        line(
            at=NOON + pick.randrange(3) * DAY,
            agent=pick.choice(["a", "b"]),
            model=pick.choice(["x/one", "x/two"]),
            principal=pick.choice(["me", "you"]),
            type=pick.choice(["model", "tool"]),
            input_tokens=pick.randrange(1000),
            output_tokens=pick.randrange(1000),
            cost=pick.choice([None, Decimal(pick.randrange(10**12)).scaleb(-12)]),
        )
        for _ in range(count)
    ]


async def test_sums_of_usage_are_the_sums_of_the_ledgers_lines(store: StoreOfRecord) -> None:
    lines = _random_lines(120)
    await _write(store, *lines)
    expected: dict[tuple[str, ...], list[LedgerLine]] = defaultdict(list)
    for use in lines:
        day = "2024-10-0" + str(4 + (use.at - NOON) // DAY)
        expected[day, use.model].append(use)
    rows = await store.usage_by(("day", "model"), since=0, until=FAR, principal=None)
    assert list(rows) == [_sum(group, expected[group]) for group in sorted(expected)]

    (total,) = await store.usage_by((), since=0, until=FAR, principal=None)
    assert total == _sum((), lines)
    (mine,) = await store.usage_by((), since=0, until=FAR, principal="me")
    assert mine == _sum((), [use for use in lines if use.principal == "me"])
    (second,) = await store.usage_by((), since=NOON + DAY, until=NOON + 2 * DAY, principal=None)
    assert second == _sum((), [use for use in lines if use.at == NOON + DAY])


def _sum(group: tuple[str, ...], lines: list[LedgerLine]) -> UsageRow:
    return UsageRow(
        group,
        len(lines),
        sum(use.input_tokens for use in lines),
        sum(use.output_tokens for use in lines),
        sum((use.cost for use in lines if use.cost is not None), Decimal(0)),
        sum(use.cost is None for use in lines),
    )


async def test_old_lines_become_sums_by_day_that_replicas_make_once(home: StoreHome) -> None:
    replicas = [await home.open() for _ in range(3)]
    elsewhere = await home.open("globex")
    lines = sorted(_random_lines(120), key=lambda use: use.at)
    for store in (replicas[0], elsewhere):
        await _write(store, *lines)
    groups: tuple[UsageGroup, ...] = ("day", "agent", "model", "principal", "type")
    before = await replicas[0].usage_by(groups, since=0, until=FAR, principal=None)
    (mine,) = await replicas[0].usage_by((), since=0, until=FAR, principal="me")

    async def trim(store: StoreOfRecord) -> int:
        return sum([await store.trim_ledger(before=NOON + DAY, limit=7) for _ in range(30)])

    trimmed = sum(await asyncio.gather(*map(trim, replicas)))
    page = await replicas[0].ledger(since=0, until=FAR, principal=None, limit=200, cursor=None)
    kept = {use.id for use in page.items}
    assert kept == {use.id for use in lines if use.at >= NOON + DAY}
    assert trimmed == len(lines) - len(kept) > 0
    assert await replicas[1].usage_by(groups, since=0, until=FAR, principal=None) == before
    assert await replicas[1].usage_by((), since=0, until=FAR, principal="me") == (mine,)
    untouched = await elsewhere.ledger(since=0, until=FAR, principal=None, limit=200, cursor=None)
    assert len(untouched.items) == len(lines)


async def test_a_budget_keeps_what_was_used_when_the_lines_of_it_leave(
    store: StoreOfRecord,
) -> None:
    asked = begin(accounts=(TOTAL,))
    await started(store, asked)
    ending = finish(asked, used={"tokens": Decimal(8)}, lines=(line(at=NOON),))
    await store.finish(ending, BOUNDS)
    assert await store.trim_ledger(before=FAR, limit=10) == 1
    (balance,) = await store.balances((TOTAL,))
    assert balance.used["tokens"] == 8


async def test_the_ledger_comes_in_pages_newest_first_and_as_it_was(store: StoreOfRecord) -> None:
    lines = [
        line(job_id="job_1", run_id="run_1", session_id="ses_1", tool="calculate", type="tool"),
        line(cost=None),
        *(line(cost=Decimal("0.000000000001")) for _ in range(6)),
        line(principal="you"),
    ]
    for use in lines:
        await _write(store, use)

    async def page(cursor: str | None) -> LedgerPage:
        return await store.ledger(since=0, until=FAR, principal="me", limit=3, cursor=cursor)

    assert [use async for use in every(page)] == lines[:-1][::-1]
    with pytest.raises(Problem, match="`cursor` must be"):
        await page("x' OR 1=1")


async def test_policies_are_listed_in_order_replaced_and_removed(store: StoreOfRecord) -> None:
    for kind, name in (("tool", "b"), ("model", "z"), ("tool", "a")):
        await store.put_policy(StoredPolicy(kind, name, "{}", "me", NOON))  # type: ignore[arg-type]
    changed = StoredPolicy("tool", "a", '{"mode":"Audit"}', "you", NOON + 1)
    await store.put_policy(changed)
    found = await store.policies()
    assert [(policy.kind, policy.name) for policy in found] == [
        ("model", "z"),
        ("tool", "a"),
        ("tool", "b"),
    ]
    assert found[1] == changed
    assert await store.delete_policy("tool", "a")
    assert not await store.delete_policy("tool", "a")
    assert not await store.delete_policy("model", "b")


async def test_one_policy_too_many_is_refused_and_replacing_one_is_not(
    store: StoreOfRecord,
) -> None:
    await asyncio.gather(
        *(
            store.put_policy(StoredPolicy("tool", f"p{number}", "{}", "me", NOON))
            for number in range(MAX_POLICIES)
        )
    )
    with pytest.raises(Problem, match=f"There are {MAX_POLICIES} policies"):
        await store.put_policy(StoredPolicy("model", "more", "{}", "me", NOON))
    await store.put_policy(StoredPolicy("tool", "p0", '{"mode":"Audit"}', "me", NOON))
    assert len(await store.policies()) == MAX_POLICIES


async def test_a_key_is_stored_under_a_free_name_only(store: StoreOfRecord) -> None:
    key = StoredKey("ci", "d" * 64, "robot", ("agents:run", "usage:read"), NOON, NOON + DAY)
    forever = StoredKey("a", "e" * 64, "me", (), NOON, None)
    assert await store.put_key(key)
    assert await store.put_key(forever)
    assert not await store.put_key(StoredKey("ci", "f" * 64, "thief", ("*",), NOON, None))
    assert await store.keys() == (forever, key)
    assert await store.delete_key("ci")
    assert not await store.delete_key("ci")
    assert await store.keys() == (forever,)
