"""Keys of a running runtime: what each is good for, and what becomes of it when it changes."""

import asyncio
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.deadline import until
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, client, document

EXECUTE = "/v1/agents/assistant/execute"
RUN, READ, ANY = "token-that-runs", "token-that-reads", "token-that-sees-all"


def _entry(name: str, *scopes: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "secretRef": {"name": "keys"}, "scopes": scopes, **fields}


def _follow(files: RuntimeFiles, *entries: dict[str, Any]) -> None:
    files.follow((document(), 100), authentication={"apiKeys": entries})


@pytest.fixture
def runtime(files: RuntimeFiles) -> Iterator[RuntimeProcess]:
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    _follow(
        files,
        _entry("run", "agents:run", "sessions:read", principal="team-a"),
        _entry("read", "sessions:read"),
        _entry("any", "agents:run", "sessions:read", "sessions:any"),
        _entry("old", "*", expiresAt=past),
        _entry("missing", "*"),
    )
    digest = hashlib.sha256(READ.encode()).hexdigest()
    files.api_keys.switch(
        {
            "run": f"{RUN}\n".encode(),
            "read": f"sha256:{digest}".encode(),
            "any": ANY.encode(),
            "old": b"token-that-was",
        }
    )
    with RuntimeProcess(files) as process:
        yield process


async def _ask(runtime: RuntimeProcess, key: str, method: str, path: str, **options: Any) -> Any:
    async with client(runtime, key=key) as http, http.request(method, path, **options) as response:
        return response.status, await response.json(content_type=None)


async def test_a_key_may_do_what_its_scopes_say_and_is_told_what_it_lacks(
    runtime: RuntimeProcess,
) -> None:
    status, _ = await _ask(runtime, RUN, "POST", EXECUTE, json={"message": "x"})
    assert status == 200
    refused = [
        ("POST", EXECUTE, "agents:run"),
        ("POST", EXECUTE + "/stream", "agents:run"),
        ("POST", "/v1/sessions", "sessions:write"),
        ("DELETE", "/v1/sessions/ses_x", "sessions:write"),
        ("GET", "/metrics", "usage:read"),
        ("GET", "/v1/usage", "usage:read"),
        ("GET", "/v1/usage/ledger", "usage:read"),
        ("GET", "/v1/metrics", "usage:read"),
        ("GET", "/v1/metrics/history", "usage:read"),
        ("GET", "/v1/metrics/stream", "usage:read"),
        ("GET", "/v1/runtime/events", "events:read"),
        ("GET", "/v1/runtime/events?follow=true", "events:read"),
        ("POST", "/v1/tools/run", "tools:run"),
        ("POST", "/v1/sessions/ses_x/interrupt", "sessions:write"),
        ("POST", "/v1/tool-policies", "policies:write"),
        ("DELETE", "/v1/tool-policies/x", "policies:write"),
        ("POST", "/v1/model-policies", "policies:write"),
        ("DELETE", "/v1/model-policies/x", "policies:write"),
        ("GET", "/v1/api-keys", "keys:write"),
        ("POST", "/v1/api-keys", "keys:write"),
        ("DELETE", "/v1/api-keys/x", "keys:write"),
    ]
    for method, path, scope in refused:
        asked: dict[str, Any] = {"agent": "assistant", "name": "x", "scopes": ["*"]}
        if "execute" in path:
            asked = {"message": "x"}
        if "tools/run" in path:
            asked = {"tool": "calculate", "arguments": {"expression": "1"}}
        status, problem = await _ask(runtime, READ, method, path, json=asked)
        assert (status, problem["code"]) == (403, "missing_scope"), path
        assert f"`{scope}`" in problem["detail"]
    for model, scope in (("assistant", "agents:run"), ("offline/echo", "models:call")):
        asked_by: dict[str, dict[str, Any]] = {
            "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
            "/v1/responses": {"input": "x"},
        }
        for path, words in asked_by.items():
            status, answer = await _ask(runtime, READ, "POST", path, json={"model": model, **words})
            assert (status, answer["error"]["type"]) == (403, "permission_error"), path
            assert f"`{scope}`" in answer["error"]["message"]


async def test_sessions_belong_to_a_principal_and_are_seen_by_those_who_may_see_all(
    runtime: RuntimeProcess,
) -> None:
    _, turn = await _ask(runtime, RUN, "POST", EXECUTE, json={"message": "x"})
    path = f"/v1/sessions/{turn['session_id']}"
    assert [(await _ask(runtime, key, "GET", path))[0] for key in (RUN, READ, ANY)] == [
        200,
        404,
        200,
    ]
    listed = [
        [
            session["principal"]
            for session in (await _ask(runtime, key, "GET", "/v1/sessions"))[1]["data"]
        ]
        for key in (RUN, READ, ANY)
    ]
    assert listed == [["team-a"], [], ["team-a"]]


async def test_an_expired_key_is_told_so_and_a_missing_file_lets_nobody_in(
    runtime: RuntimeProcess,
) -> None:
    status, problem = await _ask(runtime, "token-that-was", "GET", "/v1/agents")
    assert (status, problem["code"]) == (401, "key_expired")
    for token in ("missing", "sha256:", hashlib.sha256(READ.encode()).hexdigest()):
        status, problem = await _ask(runtime, token, "GET", "/v1/agents")
        assert (status, problem["code"]) == (401, "unauthorized")


async def test_a_rotated_key_and_a_removed_entry_are_followed_without_a_restart(
    runtime: RuntimeProcess, files: RuntimeFiles
) -> None:
    async def answers(token: str, wanted: int) -> bool:
        status, _ = await _ask(runtime, token, "GET", "/v1/agents")
        return bool(status == wanted)

    assert await answers(RUN, 200)
    files.api_keys.switch({"run": b"token-after-rotation"})
    await until(lambda: answers("token-after-rotation", 200), "the new key works")
    assert await answers(RUN, 401)
    _follow(files)
    await until(lambda: answers("token-after-rotation", 401), "the entry is gone")


async def test_thousands_of_failed_logins_harm_nobody(runtime: RuntimeProcess) -> None:
    guesses = ["bh_guess", "bhk_guess", "eyJhbGciOiJub25lIn0.e30.", "x" * 5000]
    async with client(runtime, key=None) as http:

        async def guess(number: int) -> int:
            headers = {"Authorization": f"Bearer {guesses[number % 4]}{number}"}
            async with http.get("/v1/agents", headers=headers) as response:
                return response.status

        statuses = await asyncio.gather(*(guess(number) for number in range(1000)))
    assert set(statuses) == {401}
    assert (await _ask(runtime, RUN, "POST", EXECUTE, json={"message": "x"}))[0] == 200
    assert "Traceback" not in runtime.log_path.read_text()


async def test_answers_tell_what_is_left_of_the_rate(
    runtime: RuntimeProcess, files: RuntimeFiles
) -> None:
    files.follow((document(), 100), limits={"rateLimitPerMinute": 2})
    seen: list[tuple[int, str, str]] = []

    async def asked() -> int:
        body = {"message": "x"}
        async with client(runtime) as http, http.post(EXECUTE, json=body) as response:
            headers = response.headers
            if headers["x-ratelimit-limit-requests"] == "2":
                seen.append((response.status, headers["RateLimit"], headers["RateLimit-Policy"]))
                assert headers["x-ratelimit-reset-requests"].endswith("s")
            return len(seen) == 3

    await until(asked, "three requests under the new limit")
    assert [status for status, _, _ in seen][-1] == 429
    assert seen[-1][1].startswith('"executions";r=0;t=')
    assert {policy for _, _, policy in seen} == {'"executions";q=2;w=60'}


async def test_whoever_may_see_all_sessions_continues_them_and_they_stay_their_owners(
    runtime: RuntimeProcess,
) -> None:
    _, begun = await _ask(runtime, RUN, "POST", EXECUTE, json={"message": "first"})
    session_id = begun["session_id"]
    again = {"message": "second", "session_id": session_id}
    continued, _ = await _ask(runtime, ANY, "POST", EXECUTE, json=again)
    owner, session = await _ask(runtime, RUN, "GET", f"/v1/sessions/{session_id}")
    own, _ = await _ask(runtime, RUN, "POST", EXECUTE, json=again)

    assert (continued, owner, own) == (200, 200, 200)
    assert session["turns"] == 2


async def test_a_response_is_continued_by_whom_its_session_is_seen_by(
    runtime: RuntimeProcess,
) -> None:
    body = {"model": "assistant", "input": "first"}
    _, begun = await _ask(runtime, RUN, "POST", "/v1/responses", json=body)
    again = {**body, "previous_response_id": begun["id"]}
    _, other = await _ask(runtime, ANY, "POST", "/v1/responses", json=body)
    others = {**body, "previous_response_id": other["id"]}

    continued, _ = await _ask(runtime, ANY, "POST", "/v1/responses", json=again)
    refused, problem = await _ask(runtime, RUN, "POST", "/v1/responses", json=others)
    assert continued == 200
    assert (refused, problem["error"]["code"]) == (400, "previous_response_not_found")
