"""The runtime is killed at every await of a turn; what was acknowledged is there once."""

import asyncio
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.deadline import until
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document

EXECUTE = "/v1/agents/assistant/execute"
ONE_POINT = 5
"""A step in the middle of a turn, for runs that visit only one."""

MOST_POINTS = 500


async def _say(http: aiohttp.ClientSession, session_id: str | None, message: str) -> Any:
    body = {"message": message, **({"session_id": session_id} if session_id else {})}
    async with http.post(EXECUTE, json=body) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return answer


async def _history(http: aiohttp.ClientSession, session_id: str) -> list[dict[str, Any]]:
    async with http.get(f"/v1/sessions/{session_id}/messages?limit=200") as response:
        page = await response.json()
        assert response.status == 200, page
        found: list[dict[str, Any]] = page["data"]
        return found


async def _turn_that_may_die(files: RuntimeFiles, point: int, message: str) -> tuple[str, bool]:
    """Return the session and whether its second turn was acknowledged before the process died."""
    environment = {
        "BULKHEAD_TEST_DIE_AT": str(point),
        "BULKHEAD_TEST_DIRECTORY": str(files.directory),
    }
    with RuntimeProcess(
        files, module="tests.support.runtime.dying_runtime", environment=environment
    ) as runtime:
        async with client(runtime) as http:
            first = await _say(http, None, "the first")
            armed = files.directory / "armed"
            runtime.process.send_signal(signal.SIGUSR1)
            await until(partial(asyncio.to_thread, armed.exists), "the process is armed")
            try:
                await _say(http, first["session_id"], message)
            except aiohttp.ClientError:
                return first["session_id"], False
            return first["session_id"], True


async def _assert_whole(files: RuntimeFiles, session_id: str, *, acknowledged: bool) -> bool:
    """Assert that nothing is half there and that the session goes on; tell if the turn is there."""
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            await _say(http, session_id, "the third")
            history = await _history(http, session_id)
    said = Counter(item["content"] for item in history if item["role"] == "user")
    assert said["the first"] == said["the third"] == 1
    assert said["the second: 6 * 7"] in {0, 1}
    assert said["the second: 6 * 7"] or not acknowledged
    answers = Counter(item["turn"] for item in history if item["role"] == "assistant")
    assert set(answers) == {item["turn"] for item in history}
    return bool(said["the second: 6 * 7"])


async def test_a_turn_is_there_once_or_not_at_all_wherever_the_process_dies(
    tmp_path: Path, every_fault: bool
) -> None:
    served = document("1.0.0", agent(tools=("calculate",)))
    visited = 0
    for point in range(1, MOST_POINTS) if every_fault else (ONE_POINT, MOST_POINTS - 1):
        files = RuntimeFiles(tmp_path / str(point))
        files.follow((served, 100))
        session_id, acknowledged = await _turn_that_may_die(files, point, "the second: 6 * 7")
        await _assert_whole(files, session_id, acknowledged=acknowledged)
        visited += 1
        if acknowledged:
            break
    else:
        pytest.fail("no point lies beyond the turn: raise MOST_POINTS")
    print(f"{visited} points, none lost, none doubled")
