import asyncio
import time
from typing import Any

import aiohttp

from tests.support.deadline import until
from tests.support.runtime_process import (
    INTERNAL_TOKEN,
    KEY,
    RuntimeFiles,
    RuntimeProcess,
    client,
    configuration,
    document,
)

EXECUTE = "/v1/agents/assistant/execute"
V1, V2 = document("1.0.0"), document("2.0.0")
TALKERS = 10


async def _state(runtime: RuntimeProcess, query: str = "") -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}
    async with (
        aiohttp.ClientSession(runtime.internal_url, headers=headers) as http,
        http.get(f"/internal/state{query}") as response,
    ):
        state: dict[str, Any] = await response.json()
        return state


async def test_version_two_takes_new_sessions_under_load_and_old_ones_keep_version_one(
    files: RuntimeFiles,
) -> None:
    files.follow((V1, 100))
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            answers: list[tuple[str | None, dict[str, Any]]] = []
            failures: list[str] = []
            warm, switched = asyncio.Event(), asyncio.Event()

            async def talk() -> None:
                session_id: str | None = None
                after = 0
                while after < 5:
                    body = {"message": "x"} | ({"session_id": session_id} if session_id else {})
                    async with http.post(EXECUTE, json=body) as response:
                        if response.status != 200:
                            failures.append(await response.text())
                            return
                        answer = await response.json()
                    answers.append((session_id, answer))
                    begun = {told["session_id"] for _, told in answers}
                    if len(answers) >= 50 and len(begun) == TALKERS:
                        warm.set()
                    session_id = session_id or answer["session_id"]
                    after += switched.is_set()

            talking = [asyncio.create_task(talk()) for _ in range(TALKERS)]
            await warm.wait()
            config = files.follow((V1, 0), (V2, 100))
            before = time.monotonic()
            state = await _state(runtime, f"?hash={config.hash}&waitSeconds=10")
            took = time.monotonic() - before
            async with http.post(EXECUTE, json={"message": "x"}) as response:
                new = await response.json()
            switched.set()
            await asyncio.gather(*talking)

    assert failures == []
    assert state["configurationHash"] == config.hash
    assert new["version"] == "2.0.0"
    assert took < 5
    assert {answer["version"] for _, answer in answers} == {"1.0.0"}
    weights = {item["version"]: item["weight"] for item in state["versions"]}
    assert weights == {"1.0.0": 0, "2.0.0": 100}
    assert {item["version"]: item["sessions"] for item in state["versions"]}["1.0.0"] == TALKERS


async def test_a_configuration_without_its_documents_is_refused_and_told(
    files: RuntimeFiles,
) -> None:
    good, bad = files.follow((V1, 100)), configuration((V1, 0), (V2, 100))
    with RuntimeProcess(files) as runtime:
        files.config.configure(bad, V1)
        state = await _state(runtime, f"?hash={bad.hash}&waitSeconds=10")
        async with client(runtime) as http, http.post(EXECUTE, json={"message": "x"}) as response:
            assert response.status == 200
        async with client(runtime) as http, http.get("/readiness") as response:
            assert response.status == 200
    assert state["configurationHash"] == good.hash
    assert [item["what"] for item in state["refusals"]] == ["package_helper_2.0.0.json"]


async def test_without_configuration_it_lives_but_is_not_ready(files: RuntimeFiles) -> None:
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            async with http.get("/health") as response:
                assert response.status == 200
            async with http.get("/readiness") as response:
                readiness = await response.json()
                assert response.status == 503
            async with http.post(EXECUTE, json={"message": "x"}) as response:
                assert response.status == 503
                assert response.headers["Retry-After"] == "1"
            assert readiness["dependencies"]["configuration"]["ok"] is False

            config = files.follow((V1, 100))
            await _state(runtime, f"?hash={config.hash}&waitSeconds=10")
            async with http.get("/readiness") as response:
                assert response.status == 200


async def test_a_rotated_api_key_works_and_the_former_does_not(files: RuntimeFiles) -> None:
    files.follow((V1, 100))
    with RuntimeProcess(files) as runtime:
        files.api_key.switch({"token": b"bh_rotated\n"})
        async with client(runtime, key="bh_rotated") as http, asyncio.timeout(30):
            status = 401
            while status == 401:
                async with http.post(EXECUTE, json={"message": "x"}) as response:
                    status = response.status
        assert status == 200
        async with (
            client(runtime, key=KEY) as http,
            http.post(EXECUTE, json={"message": "x"}) as response,
        ):
            assert response.status == 401


async def test_without_an_api_key_nobody_is_let_in(files: RuntimeFiles) -> None:
    files.follow((V1, 100))
    files.api_key.switch({"token": b"\n"})
    with RuntimeProcess(files) as runtime:
        for key in (None, "", KEY):
            async with client(runtime, key=key) as http, http.get("/v1/agents") as response:
                assert response.status == 401
        async with client(runtime) as http, http.get("/readiness") as response:
            readiness = await response.json()
    assert response.status == 503
    assert readiness["dependencies"]["api_key"]["ok"] is False


async def test_sessions_past_their_retention_are_removed_without_being_asked(
    files: RuntimeFiles,
) -> None:
    files.follow((V1, 100))
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            async with http.post(EXECUTE, json={"message": "x"}) as response:
                assert response.status == 200
            files.follow((V1, 100), pool={"defaultRetentionSeconds": 1})

            async def removed() -> bool:
                return bool((await _state(runtime))["pool"] == {"usedBytes": 0, "sessions": 0})

            await until(removed, "the session is removed")
