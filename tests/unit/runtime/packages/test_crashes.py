"""Processes that die under a version are told by the process that comes after them."""

import asyncio
import os
from pathlib import Path

import aiohttp
import pytest

from bulkhead_api.runtime_config import PackageDocument, ProviderConfig
from bulkhead_api.runtime_state import Measurement
from bulkhead_runtime.telemetry.flights import MAX_VERSIONS, Flights
from tests.support.deadline import until
from tests.support.runtime.rollouts import ask, measured
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document
from tests.support.stub_provider import StubProvider

AGENT = "assistant"
GOOD, BAD = ("helper", "1.0.0"), ("helper", "2.0.0")


def _crashes(flights: Flights, *versions: tuple[str, str]) -> list[int]:
    blank = [Measurement(package=package, version=version) for package, version in versions]
    return [one.crashes for one in flights.added_to(blank)]


def _die(flights: Flights) -> None:
    """Let go of the file as a process does that is killed."""
    os.close(flights._descriptor)
    flights._descriptor, flights._map = -1, None


def _followed(directory: Path, *versions: tuple[str, str]) -> Flights:
    flights = Flights(directory)
    flights.keep(versions)
    return flights


def test_a_version_that_was_at_work_is_told_and_one_that_was_not_is_not(tmp_path: Path) -> None:
    flights = _followed(tmp_path, GOOD, BAD)
    flights.began(GOOD, AGENT)
    flights.ended(GOOD, AGENT)
    flights.began(BAD, AGENT)
    flights.began(BAD, AGENT)
    _die(flights)
    assert _crashes(_followed(tmp_path, GOOD, BAD), GOOD, BAD) == [0, 1]


def test_processes_that_die_one_after_the_other_add_up(tmp_path: Path) -> None:
    for _ in range(3):
        flights = _followed(tmp_path, BAD)
        flights.began(BAD, AGENT)
        _die(flights)
    assert _crashes(_followed(tmp_path, BAD), BAD) == [3]


def test_a_version_that_left_begins_anew_when_it_comes_back(tmp_path: Path) -> None:
    flights = _followed(tmp_path, BAD)
    flights.began(BAD, AGENT)
    _die(flights)
    after = _followed(tmp_path, BAD)
    after.keep([GOOD])
    after.keep([GOOD, BAD])
    assert _crashes(after, BAD) == [0]


def test_what_runs_while_versions_come_and_go_stays_counted(tmp_path: Path) -> None:
    flights = _followed(tmp_path, GOOD, BAD)
    flights.began(BAD, AGENT)
    flights.keep([BAD])
    _die(flights)
    assert _crashes(_followed(tmp_path, BAD), BAD) == [1]


def test_a_process_that_ends_leaves_nothing_behind(tmp_path: Path) -> None:
    flights = _followed(tmp_path, BAD)
    flights.began(BAD, AGENT)
    flights.close()
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_in_the_same_folder_counts_nothing(tmp_path: Path) -> None:
    first = _followed(tmp_path, BAD)
    first.began(BAD, AGENT)
    second = _followed(tmp_path, BAD)
    second.began(BAD, AGENT)
    assert _crashes(second, BAD) == [0]
    second.close()
    _die(first)
    assert _crashes(_followed(tmp_path, BAD), BAD) == [1]


def test_more_versions_than_there_is_room_for_are_served_and_not_counted(tmp_path: Path) -> None:
    versions = [("helper", f"{number}.0.0") for number in range(MAX_VERSIONS + 1)]
    flights = _followed(tmp_path, *versions)
    flights.began(versions[-1], AGENT)
    flights.began(versions[0], AGENT)
    _die(flights)
    after = _followed(tmp_path, versions[0], versions[-1])
    assert _crashes(after, versions[0], versions[-1]) == [1, 0]


def test_a_file_that_is_garbage_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "bulkhead-flights").write_bytes(b"\xff" * 4096)
    assert _crashes(_followed(tmp_path, BAD), BAD) == [0]


async def _killed_at_work(files: RuntimeFiles, provider: StubProvider) -> None:
    """Kill a runtime while an execution of version 2 waits for its model."""
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            asked = len(provider.requests)
            path = "/v1/agents/waiting/execute"
            waiting = asyncio.create_task(_sent(http, path))

            async def at_work() -> bool:
                return len(provider.requests) > asked

            await until(at_work, "the model is asked")
            runtime.kill()
            await waiting


async def _sent(http: aiohttp.ClientSession, path: str) -> None:
    with pytest.raises(aiohttp.ClientError):
        await http.post(path, json={"message": "hi"})


async def test_executions_that_end_their_process_are_told_by_the_next(
    files: RuntimeFiles, stubbed: ProviderConfig, provider: StubProvider
) -> None:
    waiting = PackageDocument.of("other", "2.0.0", (agent("waiting", model="stub/silent"),))
    ask(files, (document(), 100), (waiting, 100), nonces={}, providers=(stubbed,))
    await _killed_at_work(files, provider)
    await _killed_at_work(files, provider)
    with RuntimeProcess(files) as runtime:
        blamed, other = await measured(runtime, "2.0.0"), await measured(runtime, "1.0.0")
    assert (blamed.crashes, blamed.executions) == (2, 0)
    assert other.crashes == 0


def test_agents_are_at_work_until_their_last_execution_ends(tmp_path: Path) -> None:
    flights = _followed(tmp_path, GOOD)
    flights.began(GOOD, "a")
    flights.began(GOOD, "a")
    flights.began(GOOD, "b")
    assert flights.agents == 2
    flights.ended(GOOD, "a")
    assert flights.agents == 2
    flights.ended(GOOD, "a")
    assert flights.agents == 1
