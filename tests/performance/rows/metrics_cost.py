"""What metrics take: from turns, from whoever scrapes, and how soon a change is seen.

The last is measured while 100 executions run: a tool is run on its own, and the time counts from
its answer until the stream of metrics has counted it.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from statistics import quantiles
from tempfile import mkdtemp

import aiohttp

from tests.performance.harness.programs import Background, ask
from tests.performance.harness.results import OURS, Bar, plain, ratio
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.rows.servers import (
    OPEN_CHUNKS,
    OPEN_MODEL,
    Server,
    runtime,
    stub_provider,
)

OFF, WATCHED = "uncounted", "watched"
_SESSIONS = 20
_WARM_SECONDS, _SECONDS = 2, 8
_AT_ONCE = 100
_SCRAPES = 100
_CHANGES = 100
_COUNTED = "bulkhead_tool_calls_total"

BARS = (
    Bar("metrics-cpu", "CPU per durable turn, everything counted", "the same that counts nothing",
        1.03, "lower", ratio("cpu_ms", OFF), control="cpu_ms"),
    Bar("metrics-scrape", "CPU of one scrape, ms", "-",
        10, "lower", plain("scrape_ms", variant=WATCHED)),
    Bar("metrics-visible", f"a change is streamed, p99 in ms at {_AT_ONCE} executions", "-",
        100, "lower", plain("visible_ms", variant=WATCHED)),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Start each server anew for every measurement: turns get dearer the more there were."""
    with stub_provider(directory) as upstream:
        variants = {
            OURS: partial(_turns, directory, upstream, "written"),
            OFF: partial(_turns, directory, upstream, "uncounted"),
            WATCHED: partial(_watched, directory, upstream),
        }
        return interleave(variants, count, repeated=OURS)


def _turns(directory: Path, upstream: str, module: str) -> Measurement:
    entry = f"tests.performance.references.{module}"
    with runtime(Path(mkdtemp(dir=directory)), upstream, entry=entry) as server:
        _talk(server, _WARM_SECONDS)
        before = server.process.cpu_seconds()
        done = _talk(server, _SECONDS)
        return {"cpu_ms": (server.process.cpu_seconds() - before) * 1000 / done}


def _talk(server: Server, seconds: int) -> float:
    report = ask(
        "load",
        "turns",
        *("-url", f"{server.url}/v1/agents/assistant/execute", "-key", server.key_file),
        *("-connections", str(_SESSIONS), "-duration", f"{seconds}s"),
    )
    return float(report["done"])


def _watched(directory: Path, upstream: str) -> Measurement:
    with runtime(Path(mkdtemp(dir=directory)), upstream) as server:
        _talk(server, _WARM_SECONDS)
        asyncio.run(_scrape(server))
        before = server.process.cpu_seconds()
        asyncio.run(_scrape(server))
        scrape = (server.process.cpu_seconds() - before) * 1000 / _SCRAPES
        arguments = ("-url", f"{server.url}/v1/chat/completions", "-key", server.key_file)
        model = ("-model", f"stub/{OPEN_MODEL}", "-chunks", str(OPEN_CHUNKS))
        many = ("-connections", str(_AT_ONCE), "-total", str(10 * _AT_ONCE))
        with Background("load", "streams", *arguments, *model, *many):
            visible = asyncio.run(_visible(server))
    return {"scrape_ms": scrape, "visible_ms": visible}


async def _scrape(server: Server) -> None:
    async with _client(server) as http:
        for _ in range(_SCRAPES):
            async with http.get("/metrics") as response:
                response.raise_for_status()
                await response.read()


async def _visible(server: Server) -> float:
    """Return the 99th percentile over all changes, in milliseconds."""
    seconds = []
    async with _client(server) as http:
        await _run_tool(http)
        await _until_all_run(http)
        async with http.get("/v1/metrics/stream") as stream:
            counts = _counts(stream)
            count = await anext(counts)
            for _ in range(_CHANGES):
                expected = count + 1
                await _run_tool(http)
                answered = time.monotonic()
                while count < expected:
                    count = await anext(counts)
                seconds.append(time.monotonic() - answered)
    return quantiles(seconds, n=100)[98] * 1000


async def _until_all_run(http: aiohttp.ClientSession) -> None:
    active = 0.0
    while active < _AT_ONCE:
        await asyncio.sleep(0.2)
        async with http.get("/v1/metrics") as response:
            found = {metric["name"]: metric for metric in (await response.json())["data"]}
            active = found["bulkhead_executions_active"]["samples"][0]["value"]


async def _run_tool(http: aiohttp.ClientSession) -> None:
    body = {"tool": "current_time", "arguments": {}}
    async with http.post("/v1/tools/run", json=body) as response:
        response.raise_for_status()
        await response.read()


async def _counts(stream: aiohttp.ClientResponse) -> AsyncIterator[float]:
    """Yield how many tool calls each frame says, where it says it."""
    async for line in stream.content:
        if line.startswith(b"data: "):
            for metric in json.loads(line.removeprefix(b"data: "))["data"]:
                if metric["name"] == _COUNTED:
                    yield sum(sample["value"] for sample in metric["samples"])


def _client(server: Server) -> aiohttp.ClientSession:
    headers = {"Authorization": f"Bearer {server.key_file.read_text()}"}
    return aiohttp.ClientSession(server.url, headers=headers, read_bufsize=2**20)
