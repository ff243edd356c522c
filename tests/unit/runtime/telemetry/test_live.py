"""Readers of a stream see a change at once, and none of them is waited for."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from bulkhead_runtime.telemetry.instruments import Instruments, Reading
from bulkhead_runtime.telemetry.live import GATHER_SECONDS, LiveMetrics


class Feed:
    """A counter that is followed."""

    def __init__(self) -> None:
        self.instruments = Instruments()
        self.counter = self.instruments.counter("things_total", "Things.", ("kind",))
        self.reads = 0
        self.failure: Exception | None = None
        self.live = LiveMetrics(self._read, self.instruments.changes)

    async def _read(self) -> tuple[Reading, ...]:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        return self.instruments.read()


async def _next(frames: AsyncGenerator[bytes, None]) -> tuple[str, Any]:
    async with asyncio.timeout(30):
        event, data = (await anext(frames)).decode().strip().split("\n")
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))["data"]


async def test_a_reader_gets_everything_first_and_then_what_changes() -> None:
    feed = Feed()
    feed.counter.add(("a",))
    async with aclosing(feed.live.follow()) as frames:
        event, data = await _next(frames)
        assert (event, data[0]["samples"]) == ("snapshot", [{"labels": {"kind": "a"}, "value": 1}])
        feed.counter.add(("b",))
        event, data = await _next(frames)
        assert event == "change"
        assert data == [
            {"name": "things_total", "samples": [{"labels": {"kind": "b"}, "value": 1}]}
        ]


async def test_what_changes_in_quick_succession_comes_together() -> None:
    feed = Feed()
    async with aclosing(feed.live.follow()) as frames:
        begun = time.monotonic()
        await _next_after(feed, frames)
        for _ in range(100):
            feed.counter.add(("a",))
            await asyncio.sleep(0)
        seen = 0
        while seen < 101:
            seen = (await _next(frames))[1][0]["samples"][0]["value"]
        assert feed.reads <= 2 + (time.monotonic() - begun) / GATHER_SECONDS


async def _next_after(feed: Feed, frames: AsyncGenerator[bytes, None]) -> None:
    feed.counter.add(("a",))
    await _next(frames)


async def test_a_slow_reader_misses_steps_and_gets_the_whole_state_next() -> None:
    feed = Feed()
    feed.counter.add(("a",))
    async with aclosing(feed.live.follow()) as slow, aclosing(feed.live.follow()) as quick:
        await _next(slow)
        await _next(quick)
        for _ in range(3):
            feed.counter.add(("b",))
            assert (await _next(quick))[0] == "change"
        event, data = await _next(slow)
        assert event == "snapshot"
        assert [sample["value"] for sample in data[0]["samples"]] == [1, 3]


async def test_all_readers_share_one_look() -> None:
    feed = Feed()
    feed.counter.add(("a",))
    readers = [feed.live.follow() for _ in range(20)]
    for frames in readers:
        await _next(frames)
    before = feed.reads
    feed.counter.add(("a",))
    for frames in readers:
        await _next(frames)
    assert feed.reads - before <= 2
    for frames in readers:
        await frames.aclose()


async def test_nobody_looks_while_nobody_reads() -> None:
    feed = Feed()
    feed.counter.add(("a",))
    async with aclosing(feed.live.follow()) as frames:
        await _next(frames)
        assert len(asyncio.all_tasks()) == 2
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1
    async with aclosing(feed.live.follow()) as frames:
        assert (await _next(frames))[0] == "snapshot"


async def test_readers_fail_with_what_ended_the_look_and_the_next_begins_anew() -> None:
    feed = Feed()
    feed.failure = OSError("gone")
    async with aclosing(feed.live.follow()) as frames:
        with pytest.raises(OSError, match="gone"):
            await _next(frames)
    feed.failure = None
    feed.counter.add(("a",))
    async with aclosing(feed.live.follow()) as frames:
        assert (await _next(frames))[0] == "snapshot"
