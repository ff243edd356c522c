import asyncio
import resource
import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field

import aiohttp

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_api.v1alpha1.budgets import Budgets, RequestBudget
from tests.support.deadline import until
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document
from tests.support.stub_provider import StubProvider

EXECUTE = "/v1/agents/assistant/execute"
WRITERS = 8


@dataclass
class History:
    """What clients know: every message that was sent, and whether it was acknowledged."""

    acknowledged: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    unknown: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    count: int = 0


async def _write(runtime: RuntimeProcess, session_id: str, history: History) -> None:
    """Send numbered messages to one session until the process dies."""
    async with client(runtime) as http:
        for number in range(100_000):
            message = f"message {session_id} {number}"
            history.unknown[session_id] = [message]
            body = {"message": message, "session_id": session_id}
            try:
                async with http.post(EXECUTE, json=body) as response:
                    await response.read()
                    if response.status != 200:
                        return
            except aiohttp.ClientError:
                return
            history.acknowledged[session_id].append(message)
            history.count += 1


async def _sessions(runtime: RuntimeProcess, count: int) -> list[str]:
    async with client(runtime) as http:
        found = []
        for _ in range(count):
            async with http.post("/v1/sessions", json={"agent": "assistant"}) as response:
                found.append((await response.json())["id"])
        return found


async def _user_messages(runtime: RuntimeProcess, session_id: str) -> list[str]:
    found, cursor = [], ""
    async with client(runtime) as http:
        while cursor is not None:
            suffix = f"&cursor={cursor}" if cursor else ""
            path = f"/v1/sessions/{session_id}/messages?limit=200{suffix}"
            async with http.get(path) as response:
                page = await response.json()
            found += [item["content"] for item in page["data"] if item["role"] == "user"]
            cursor = page["next_cursor"]
    return found


async def test_kill_9_under_load_loses_no_acknowledged_turn_and_doubles_none(
    files: RuntimeFiles,
) -> None:
    files.follow((document(), 100))
    history = History()
    with RuntimeProcess(files) as runtime:
        sessions = await _sessions(runtime, WRITERS)

    for round_number in range(1, 4):
        with RuntimeProcess(files) as runtime:
            writers = [
                asyncio.create_task(_write(runtime, session_id, history)) for session_id in sessions
            ]

            async def enough(wanted: int = 60 * round_number) -> bool:
                return history.count >= wanted

            await until(enough, "turns are acknowledged")
            runtime.kill()
            await asyncio.gather(*writers)

        with RuntimeProcess(files) as runtime:
            for session_id in sessions:
                stored = await _user_messages(runtime, session_id)
                known = history.acknowledged[session_id]
                assert stored[: len(known)] == known
                assert stored[len(known) :] in ([], history.unknown[session_id])
                history.acknowledged[session_id] = stored

    connection = sqlite3.connect(files.data / "sessions.db")
    turns, messages = connection.execute(
        "SELECT sum(turns), sum(messages) FROM sessions"
    ).fetchone()
    connection.close()
    assert (messages, turns) == (2 * turns, sum(map(len, history.acknowledged.values())))


async def test_the_next_process_continues_sessions_that_a_killed_one_held(
    files: RuntimeFiles, provider: StubProvider
) -> None:
    hanging = document("1.0.0", agent(model="stub/hang"))
    config = ProviderConfig(name="stub", type="OpenAICompatible", base_url=provider.base_url)
    files.follow((hanging, 100), providers=(config,))
    provider.forget()
    with RuntimeProcess(files) as runtime:
        (session_id,) = await _sessions(runtime, 1)
        body = {"message": "x", "session_id": session_id}
        async with client(runtime) as http:
            turn = asyncio.create_task(http.post(EXECUTE, json=body).__aenter__())
            assert await provider.asked()
            runtime.kill()
            await asyncio.wait([turn])
            assert isinstance(turn.exception(), aiohttp.ClientError)

    files.follow((document("2.0.0"), 100))
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            async with http.get(f"/v1/sessions/{session_id}") as response:
                assert (await response.json())["status"] == "interrupted"
            async with http.post(EXECUTE, json=body) as response:
                answer = await response.json()
    assert answer["version"] == "2.0.0"


async def test_two_processes_on_one_volume_never_run_one_sessions_turns_at_once(
    files: RuntimeFiles, provider: StubProvider
) -> None:
    steady = document("1.0.0", agent(model="stub/words;chunks=3;delay_ms=5"))
    config = ProviderConfig(name="stub", type="OpenAICompatible", base_url=provider.base_url)
    files.follow((steady, 100), providers=(config,))
    with RuntimeProcess(files) as one, RuntimeProcess(files) as other:
        (session_id,) = await _sessions(one, 1)
        said = [f"{name}{number}" for name in "abcd" for number in range(8)]

        async def talk(runtime: RuntimeProcess, name: str) -> None:
            async with client(runtime) as http:
                for message in (one for one in said if one.startswith(name)):
                    body = {"message": message, "session_id": session_id}
                    while not await _accepted(http, body):
                        pass

        async with asyncio.timeout(120):
            await asyncio.gather(talk(one, "a"), talk(other, "b"), talk(one, "c"), talk(other, "d"))
        stored = await _user_messages(other, session_id)

    assert sorted(stored) == sorted(said)


async def _accepted(http: aiohttp.ClientSession, body: dict[str, str]) -> bool:
    """Tell whether a turn ran; False while the other process runs one of the session."""
    async with http.post(EXECUTE, json=body) as response:
        assert response.status in {200, 409}, await response.text()
        return response.status == 200


async def test_a_full_disk_refuses_clearly_and_leaves_nothing_half_done(
    files: RuntimeFiles,
) -> None:
    files.follow(
        (document(), 100),
        limits={"maxInputCharacters": 100_000},
        budgets=Budgets(request=RequestBudget(tokens=1_000_000)),
    )
    with RuntimeProcess(files) as runtime:
        (session_id,) = await _sessions(runtime, 1)
        _limit_file_size(runtime, 400_000)
        body = {"message": "x" * 60_000, "session_id": session_id}
        acknowledged = 0
        async with client(runtime) as http:
            for _ in range(20):
                async with http.post(EXECUTE, json=body) as response:
                    answer = await response.json(content_type=None)
                if response.status != 200:
                    break
                acknowledged += 1
            assert response.status in {503, 507}
            assert answer["code"] in {"store_unavailable", "storage_full"}

            _limit_file_size(runtime, None)
            assert len(await _user_messages(runtime, session_id)) == acknowledged
            async with http.post(EXECUTE, json=body) as response:
                assert response.status == 200


async def test_a_damaged_database_is_set_aside_and_readiness_says_so(files: RuntimeFiles) -> None:
    files.follow((document(), 100))
    files.data.mkdir()
    (files.data / "sessions.db").write_bytes(b"not a database" * 500)
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            async with http.get("/readiness") as response:
                readiness = await response.json()
            async with http.post(EXECUTE, json={"message": "x"}) as response:
                assert response.status == 200
        events = [line["event"] for line in runtime.logs()]
    assert "sessions.db.corrupt-" in readiness["dependencies"]["store"]["message"]
    assert "Damaged conversation store set aside" in events


def _limit_file_size(runtime: RuntimeProcess, size: int | None) -> None:
    """Let writes beyond `size` fail, as they do when a volume is full."""
    limit = resource.RLIM_INFINITY if size is None else size
    hard = resource.RLIM_INFINITY
    resource.prlimit(runtime.process.pid, resource.RLIMIT_FSIZE, (limit, hard))
