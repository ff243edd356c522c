import asyncio
import signal
import time
from dataclasses import dataclass, field

import aiohttp
import pytest

from bulkhead_api.runtime_config import ProviderConfig
from tests.support.deadline import until
from tests.support.runtime_events import events
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document
from tests.support.stub_provider import StubProvider

EXECUTE = "/v1/agents/assistant/execute"
STREAM = "/v1/agents/slow/execute/stream"


@dataclass
class Seen:
    """What clients saw while the process ended."""

    answered: int = 0
    closed: int = 0
    failures: list[str] = field(default_factory=list)


async def _keep_asking(http: aiohttp.ClientSession, stop: asyncio.Event, seen: Seen) -> None:
    while not stop.is_set():
        try:
            async with http.post(EXECUTE, json={"message": "x"}) as response:
                await response.read()
                if response.status != 200:
                    seen.failures.append(str(response.status))
                seen.answered += 1
                seen.closed += response.headers.get("Connection") == "close"
        except aiohttp.ClientError as error:
            seen.failures.append(repr(error))


@pytest.fixture
def slow_files(files: RuntimeFiles, provider: StubProvider) -> RuntimeFiles:
    slow = agent("slow", model="stub/words;chunks=100;delay_ms=50")
    endless = agent("endless", model="stub/words;chunks=2000;delay_ms=50")
    config = ProviderConfig(name="stub", type="OpenAICompatible", base_url=provider.base_url)
    limits = {"maxConcurrentAgents": 100}
    files.follow(
        (document("1.0.0", agent(), slow, endless), 100), providers=(config,), limits=limits
    )
    return files


async def test_sigterm_under_load_fails_no_request_and_cuts_no_stream(
    slow_files: RuntimeFiles, provider: StubProvider
) -> None:
    provider.forget()
    with RuntimeProcess(slow_files, drain_seconds=5.0) as runtime:
        connector = aiohttp.TCPConnector(limit=0)
        async with client(runtime, connector=connector) as http:
            stop, seen = asyncio.Event(), Seen()
            streams = [
                await http.post(STREAM, json={"message": f"stream {number}"}).__aenter__()
                for number in range(10)
            ]
            asking = [asyncio.create_task(_keep_asking(http, stop, seen)) for _ in range(8)]

            async def warm() -> bool:
                return seen.answered > 50

            await until(warm, "requests are answered")
            runtime.terminate()

            async def unready() -> bool:
                async with (
                    aiohttp.ClientSession(runtime.internal_url) as probe,
                    probe.get("/readiness") as response,
                ):
                    return response.status == 503

            await until(unready, "readiness fails")
            answered_before = seen.answered

            async def closing() -> bool:
                return seen.closed > 20

            await until(closing, "answers say Connection: close")
            stop.set()
            await asyncio.gather(*asking)
            ended = [(await events(response))[-1][0] for response in streams]

        status = await asyncio.to_thread(runtime.process.wait, 30)

    assert seen.failures == []
    assert seen.answered > answered_before
    assert ended == ["done"] * 10
    assert status == 0


async def test_after_the_drain_no_connection_is_accepted_while_streams_go_on(
    slow_files: RuntimeFiles,
) -> None:
    with RuntimeProcess(slow_files) as runtime:
        async with client(runtime) as http:
            stream = await http.post(STREAM, json={"message": "x"}).__aenter__()
            runtime.terminate()

            async def refused() -> bool:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", runtime.port)
                except ConnectionRefusedError:
                    return True
                writer.close()
                return False

            await until(refused, "connections are refused")
            assert runtime.process.poll() is None
            assert (await events(stream))[-1][0] == "done"
        assert await asyncio.to_thread(runtime.process.wait, 30) == 0


async def test_a_second_signal_ends_fast(slow_files: RuntimeFiles) -> None:
    path = "/v1/agents/endless/execute/stream"
    with RuntimeProcess(slow_files, drain_seconds=60) as runtime:
        async with client(runtime) as http:
            stream = await http.post(path, json={"message": "x"}).__aenter__()
            before = time.monotonic()
            runtime.terminate()

            async def draining() -> bool:
                async with http.get("/readiness") as response:
                    return response.status == 503

            await until(draining, "readiness fails")
            runtime.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(runtime.process.wait, 30) == 0
            stream.close()
    assert time.monotonic() - before < 40
