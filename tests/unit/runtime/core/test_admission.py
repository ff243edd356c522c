import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.admission import Admission, RateWindow, SessionGate
from bulkhead_runtime.telemetry.execution_metrics import QueueMetrics
from bulkhead_runtime.telemetry.instruments import Instruments


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def _held(admission: Admission, places: int, max_queue: int) -> AsyncIterator[None]:
    await admission.enter(places, max_queue)
    try:
        yield
    finally:
        admission.leave(0.1)


@asynccontextmanager
async def _entered(gate: SessionGate, session: str, max_waiting: int) -> AsyncIterator[None]:
    await gate.enter(session, max_waiting)
    try:
        yield
    finally:
        gate.leave(session)


async def _settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_the_limit_holds_in_every_sixty_seconds_and_says_when_to_come_back() -> None:
    clock = Clock()
    window = RateWindow(clock)
    for _ in range(5):
        window.admit(5)
        clock.now += 1

    with pytest.raises(Problem) as refused:
        window.admit(5)

    assert refused.value.status == 429
    assert refused.value.retry_after is not None
    clock.now += refused.value.retry_after
    window.admit(5)


def test_a_raised_limit_holds_at_once() -> None:
    window = RateWindow(Clock())
    window.admit(1)
    with pytest.raises(Problem, match="More than 1 executions per minute"):
        window.admit(1)
    window.admit(2)


async def test_places_are_given_in_the_order_of_arrival() -> None:
    admission, order = Admission(QueueMetrics(Instruments())), []
    release = asyncio.Event()

    async def run(number: int) -> None:
        async with _held(admission, 1, 10):
            order.append(number)
            await release.wait()

    tasks = [asyncio.create_task(run(number)) for number in range(4)]
    await _settled()
    assert (order, admission.active, admission.queued) == ([0], 1, 3)
    release.set()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]
    assert (admission.active, admission.queued) == (0, 0)


async def test_beyond_the_queue_is_refused_with_a_time_to_come_back() -> None:
    admission, release = Admission(QueueMetrics(Instruments())), asyncio.Event()

    async def run() -> None:
        async with _held(admission, 1, 1):
            await release.wait()

    tasks = [asyncio.create_task(run()) for _ in range(2)]
    await _settled()
    with pytest.raises(Problem) as refused:
        async with _held(admission, 1, 1):
            pass
    assert (refused.value.status, refused.value.code) == (429, "queue_full")
    assert refused.value.retry_after is not None
    assert refused.value.retry_after >= 1
    release.set()
    await asyncio.gather(*tasks)


async def test_whoever_leaves_the_queue_frees_its_place_for_the_next() -> None:
    admission, release, ran = Admission(QueueMetrics(Instruments())), asyncio.Event(), []

    async def run(number: int) -> None:
        async with _held(admission, 1, 10):
            ran.append(number)
            await release.wait()

    tasks = [asyncio.create_task(run(number)) for number in range(3)]
    await _settled()
    tasks[1].cancel()
    tasks[0].cancel()
    await _settled()
    assert ran == [0, 2]
    release.set()
    await tasks[2]
    assert admission.active == 0


async def test_more_places_let_those_who_wait_run_at_once() -> None:
    admission, release, ran = Admission(QueueMetrics(Instruments())), asyncio.Event(), []

    async def run(number: int) -> None:
        async with _held(admission, 1, 10):
            ran.append(number)
            await release.wait()

    tasks = [asyncio.create_task(run(number)) for number in range(3)]
    await _settled()
    admission.resize(3)
    await _settled()
    assert ran == [0, 1, 2]
    release.set()
    await asyncio.gather(*tasks)


async def test_turns_of_one_session_run_one_after_the_other_and_of_two_side_by_side() -> None:
    gate, running, seen = SessionGate(), set(), []
    step = asyncio.Event()

    async def run(session: str, number: int) -> None:
        async with _entered(gate, session, 10):
            assert session not in running
            running.add(session)
            seen.append((session, number))
            await step.wait()
            await asyncio.sleep(0)
            running.remove(session)

    tasks = [asyncio.create_task(run(name, number)) for number in range(3) for name in "ab"]
    await _settled()
    assert seen == [("a", 0), ("b", 0)]
    step.set()
    await asyncio.gather(*tasks)
    assert [number for name, number in seen if name == "a"] == [0, 1, 2]


async def test_too_many_turns_waiting_for_one_session_are_refused() -> None:
    gate, step = SessionGate(), asyncio.Event()

    async def run() -> None:
        async with _entered(gate, "a", 1):
            await step.wait()

    tasks = [asyncio.create_task(run()) for _ in range(2)]
    await _settled()
    with pytest.raises(Problem, match="wait for the turn before"):
        async with _entered(gate, "a", 1):
            pass
    step.set()
    await asyncio.gather(*tasks)
