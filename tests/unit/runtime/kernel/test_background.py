"""Work that outlives who asked for it: done to the end, and its failures told once."""

import asyncio
import logging

import pytest

from bulkhead_runtime.kernel.background import Background


class _Work:
    """Fails when it is let go on."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def run(self) -> None:
        self.begun.set()
        await self.go_on.wait()
        raise OSError("the disk is full")


async def _told(caplog: pytest.LogCaptureFixture, background: Background) -> int:
    await background.finish()
    return sum(record.levelno == logging.ERROR for record in caplog.records)


async def test_a_failure_that_nobody_awaits_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    background, work = Background(), _Work()
    background.spawn(work.run())
    work.go_on.set()

    assert await _told(caplog, background) == 1


async def test_a_failure_that_somebody_awaits_is_theirs_to_tell(
    caplog: pytest.LogCaptureFixture,
) -> None:
    background, work = Background(), _Work()
    work.go_on.set()
    with pytest.raises(OSError, match="the disk is full"):
        await background.complete(work.run())

    assert await _told(caplog, background) == 0


async def test_work_whose_caller_leaves_goes_on_and_its_failure_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    background, work = Background(), _Work()
    caller = asyncio.create_task(background.complete(work.run()))
    await work.begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    work.go_on.set()

    assert await _told(caplog, background) == 1
