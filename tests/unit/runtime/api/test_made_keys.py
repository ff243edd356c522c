"""Keys that are made, listed and revoked through the API of a running runtime."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead_runtime.api.keyring import Key
from bulkhead_runtime.api.stored_keys import TOKEN_PREFIX
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.context import Principal
from tests.support.deadline import until
from tests.support.runtime_process import KEY, RuntimeFiles, RuntimeProcess, client, document

KEYS = "/v1/api-keys"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    files.follow((document(), 100))
    with RuntimeProcess(files) as process:
        yield process


async def _ask(
    runtime: RuntimeProcess, method: str, path: str, *, key: str = KEY, **options: Any
) -> tuple[int, Any]:
    async with client(runtime, key=key) as http, http.request(method, path, **options) as response:
        return response.status, await response.json(content_type=None)


async def _make(runtime: RuntimeProcess, name: str, *scopes: str, **fields: Any) -> str:
    body = {"name": name, "scopes": scopes, **fields}
    status, made = await _ask(runtime, "POST", KEYS, json=body)
    assert status == 201, made
    token: str = made["token"]
    return token


async def test_a_key_works_at_once_for_its_principal_and_is_shown_once(
    runtime: RuntimeProcess,
) -> None:
    token = await _make(runtime, "robot", "agents:run", "sessions:read", principal="team-a")
    assert token.startswith("bhk_")
    status, turn = await _ask(
        runtime, "POST", "/v1/agents/assistant/execute", key=token, json={"message": "x"}
    )
    assert status == 200
    _, session = await _ask(runtime, "GET", f"/v1/sessions/{turn['session_id']}", key=token)
    assert session["principal"] == "team-a"
    status, listed = await _ask(runtime, "GET", KEYS)
    scopes = {made["name"]: made["scopes"] for made in listed["data"]}
    assert scopes["robot"] == ["agents:run", "sessions:read"]
    assert token not in str(listed)
    kept = b"".join(path.read_bytes() for path in runtime.files.data.rglob("*") if path.is_file())
    assert b"robot" in kept
    assert token.encode() not in kept + runtime.log_path.read_bytes()


async def test_a_revoked_key_is_refused_at_once_and_its_name_is_free_again(
    runtime: RuntimeProcess,
) -> None:
    token = await _make(runtime, "leaver", "*")
    assert (await _ask(runtime, "GET", "/v1/agents", key=token))[0] == 200
    assert (await _ask(runtime, "DELETE", f"{KEYS}/leaver"))[0] == 204
    assert (await _ask(runtime, "GET", "/v1/agents", key=token))[0] == 401
    assert (await _ask(runtime, "DELETE", f"{KEYS}/leaver"))[0] == 404
    await _make(runtime, "leaver", "*")


async def test_who_made_and_revoked_a_key_is_on_record(runtime: RuntimeProcess) -> None:
    await _make(runtime, "audited", "agents:run")
    await _ask(runtime, "DELETE", f"{KEYS}/audited")

    async def recorded() -> bool:
        query = {"type": ["key.created", "key.revoked"], "limit": "200"}
        _, page = await _ask(runtime, "GET", "/v1/runtime/events", params=query)
        kinds = [e["type"] for e in page["data"] if e["data"]["name"] == "audited"]
        return kinds == ["key.created", "key.revoked"]

    await until(recorded, "both events are stored")


async def test_a_key_shows_when_it_ends(runtime: RuntimeProcess) -> None:
    token = await _make(runtime, "brief", "*", expires_at="2999-01-01T00:00:00+02:00")
    assert (await _ask(runtime, "GET", "/v1/agents", key=token))[0] == 200
    _, listed = await _ask(runtime, "GET", KEYS)
    ends = {key["name"]: key["expires_at"] for key in listed["data"]}
    assert ends["brief"] == "2998-12-31T22:00:00Z"


def test_a_key_stands_for_its_principal_until_it_ends() -> None:
    principal = Principal("team-a", frozenset(), "robot")
    now = int(time.time() * 1000)
    assert Key(principal, now + 60_000).require_valid() is principal
    with pytest.raises(Problem, match="has expired") as refusal:
        Key(principal, now - 1).require_valid()
    assert (refusal.value.status, refusal.value.code) == (401, "key_expired")


async def test_keys_of_another_replica_work_here_and_end_here(
    runtime: RuntimeProcess,
) -> None:
    with RuntimeProcess(runtime.files) as other:
        unknown = f"{TOKEN_PREFIX}nobody"
        assert (await _ask(runtime, "GET", "/v1/agents", key=unknown))[0] == 401
        token = await _make(other, "far", "*")
        assert (await _ask(runtime, "GET", "/v1/agents", key=token))[0] == 200
        assert (await _ask(other, "DELETE", f"{KEYS}/far"))[0] == 204

        async def refused() -> bool:
            return (await _ask(runtime, "GET", "/v1/agents", key=token))[0] == 401

        await until(refused, "the revoked key ends on the other replica")


async def test_nobody_makes_a_key_that_may_do_more_or_acts_for_another(
    runtime: RuntimeProcess,
) -> None:
    maker = await _make(runtime, "maker", "keys:write", "agents:run")
    refused = {
        "a scope it lacks": {"name": "a", "scopes": ["usage:read"]},
        "everything": {"name": "a", "scopes": ["*"]},
        "another principal": {"name": "a", "scopes": ["agents:run"], "principal": "team-b"},
        "a principal of the new name": {"name": "a", "scopes": ["agents:run"]},
    }
    for what, body in refused.items():
        status, problem = await _ask(runtime, "POST", KEYS, key=maker, json=body)
        assert (status, problem["code"]) == (403, "missing_scope"), what
    same = {"name": "child", "scopes": ["agents:run"], "principal": "maker"}
    assert (await _ask(runtime, "POST", KEYS, key=maker, json=same))[0] == 201


INVALID: dict[str, dict[str, Any]] = {
    "no scopes": {"name": "a", "scopes": []},
    "a scope that does not exist": {"name": "a", "scopes": ["root"]},
    "a name with capitals": {"name": "A", "scopes": ["*"]},
    "a name of 64 letters": {"name": "a" * 64, "scopes": ["*"]},
    "an end in the past": {"name": "a", "scopes": ["*"], "expires_at": "2001-01-01T00:00:00Z"},
    "an end without a time zone": {"name": "a", "scopes": ["*"], "expires_at": "2999-01-01T00:00"},
    "a principal with a space": {"name": "a", "scopes": ["*"], "principal": "a b"},
    "a field that nobody knows": {"name": "a", "scopes": ["*"], "token": "mine"},
}


@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID.keys())
async def test_no_key_is_made_with(runtime: RuntimeProcess, body: dict[str, Any]) -> None:
    status, problem = await _ask(runtime, "POST", KEYS, json=body)
    assert (status, problem["code"]) == (422, "invalid_request")
    assert problem["field"]


async def test_a_name_is_given_once(runtime: RuntimeProcess) -> None:
    await _make(runtime, "twin", "*")
    status, problem = await _ask(runtime, "POST", KEYS, json={"name": "twin", "scopes": ["*"]})
    assert (status, problem["code"]) == (409, "key_exists")
