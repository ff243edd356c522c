"""What ends at a deadline, and whose cancellation it is then."""

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple

import pytest

from bulkhead_runtime.deadlines import cut_off

Given = TypeVarTuple("Given")


def _within(seconds: float) -> cut_off:
    return cut_off(time.monotonic() + seconds)


async def _forever() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("seconds", [0.01, 0.0, -5.0], ids=["soon", "now", "already"])
async def test_what_waits_beyond_its_deadline_is_ended(seconds: float) -> None:
    with pytest.raises(TimeoutError), _within(seconds):
        await _forever()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_ends_in_time_is_left_alone_for_ever() -> None:
    later = asyncio.Event()
    with _within(0.01):
        pass
    asyncio.get_running_loop().call_later(0.03, later.set)
    await later.wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_the_nearer_of_two_deadlines_is_told_by_the_one_that_it_belongs_to() -> None:
    with _within(60):
        with pytest.raises(TimeoutError), _within(0.01):
            await _forever()
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), _within(0.01), _within(60):
        await _forever()


async def test_a_task_that_somebody_else_cancels_stays_cancelled() -> None:
    async def work() -> None:
        with _within(60):
            await _forever()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_is_cancelled_as_its_deadline_passes_stays_cancelled() -> None:
    async def work() -> None:
        with _within(0):
            await _forever()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    # The deadline passes in this turn of the loop: both have asked before the task runs again.
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises((asyncio.CancelledError, TimeoutError)) as ended:
        await task
    assert ended.type is asyncio.CancelledError


async def test_another_failure_at_the_deadline_is_told_as_itself() -> None:
    async def work() -> None:
        try:
            await _forever()
        except asyncio.CancelledError:
            raise ValueError("its own") from None

    with pytest.raises(ValueError, match="own"), _within(0.01):
        await work()


class HastyLoop(asyncio.SelectorEventLoop):
    """Its timers are early, as those of a loop are that was busy."""

    def call_at(
        self,
        when: float,
        callback: Callable[[*Given], object],
        *args: *Given,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return super().call_at(when - 0.005, callback, *args, context=context)


def test_nothing_is_ended_before_its_deadline_where_a_timer_is_early() -> None:
    async def ended_late() -> bool:
        deadline = time.monotonic() + 0.05
        with pytest.raises(TimeoutError), cut_off(deadline):
            await _forever()
        return time.monotonic() >= deadline

    with asyncio.Runner(loop_factory=HastyLoop) as runner:
        assert runner.run(ended_late())
