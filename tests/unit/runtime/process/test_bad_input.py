import gzip
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.runtime_process import (
    INTERNAL_TOKEN,
    KEY,
    RuntimeFiles,
    RuntimeProcess,
    client,
    document,
)

EXECUTE = "/v1/agents/assistant/execute"
CHAT = "/v1/chat/completions"
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    files.follow((document(), 100))
    with RuntimeProcess(files) as process:
        yield process


def _chat(**fields: Any) -> bytes:
    message = {"role": "user", "content": "hi"}
    return json.dumps({"model": "assistant", "messages": [message], **fields}).encode()


# id: (path, body, status, code, words that the message has)
REFUSED = {
    "a body that is no JSON": (EXECUTE, b"{", 400, "malformed_json", "not valid JSON"),
    "an empty body": (EXECUTE, b"", 400, "malformed_json", "not valid JSON"),
    "a body that is not UTF-8": (
        EXECUTE,
        b'{"message":"\xff\xfe"}',
        400,
        "invalid_utf8",
        "not valid UTF-8",
    ),
    "half a surrogate pair": (
        EXECUTE,
        rb'{"message":"\ud800 alone"}',
        400,
        "malformed_json",
        "not valid JSON",
    ),
    "JSON of another shape": (EXECUTE, b"[]", 422, "invalid_body", "`body`"),
    "no message": (EXECUTE, b"{}", 422, "invalid_body", "`message`"),
    "an empty message": (EXECUTE, b'{"message":""}', 422, "invalid_body", "`message`"),
    "a message that is a number": (EXECUTE, b'{"message":7}', 422, "invalid_body", "`message`"),
    "a field that nobody knows": (
        EXECUTE,
        b'{"message":"x","sesion_id":"y"}',
        422,
        "invalid_body",
        "`sesion_id`",
    ),
    "metadata of another shape": (
        EXECUTE,
        b'{"message":"x","metadata":{"a":1}}',
        422,
        "invalid_body",
        "`metadata",
    ),
    "metadata under a name that is too long": (
        EXECUTE,
        b'{"message":"x","metadata":{"%b":"x"}}' % (b"k" * 65),
        422,
        "invalid_body",
        "`metadata`: Expected `str` of length <= 64.",
    ),
    "metadata for a session that exists": (
        EXECUTE,
        b'{"message":"x","session_id":"s","metadata":{"a":"b"}}',
        422,
        "metadata_not_allowed",
        "`metadata`",
    ),
    "a message longer than allowed": (
        EXECUTE,
        json.dumps({"message": "x" * 10_001}).encode(),
        422,
        "input_too_long",
        "10001 characters, at most 10000",
    ),
    "a message of 10 MB": (
        EXECUTE,
        json.dumps({"message": "x" * 10_000_000}).encode(),
        413,
        "body_too_large",
        "1048576 bytes",
    ),
    "a session that does not exist": (
        EXECUTE,
        b'{"message":"x","session_id":"ses_00000000000000000000000000000000"}',
        404,
        "unknown_session",
        "no such session",
    ),
    "an agent that does not exist": (
        "/v1/agents/ghost/execute",
        b'{"message":"x"}',
        404,
        "unknown_agent",
        "'ghost'",
    ),
    "a path that does not exist": ("/v1/nothing", b"{}", 404, "unknown_path", "openapi.json"),
    "a session for an agent that does not exist": (
        "/v1/sessions",
        b'{"agent":"ghost"}',
        404,
        "unknown_agent",
        "'ghost'",
    ),
    "a session with a body that is no JSON": (
        "/v1/sessions",
        b"{",
        400,
        "malformed_json",
        "not valid JSON",
    ),
    "a session with a body that is not UTF-8": (
        "/v1/sessions",
        b'{"agent":"\xff"}',
        400,
        "malformed_json",
        "JSON",
    ),
    "a session with a body without agent": ("/v1/sessions", b"{}", 422, "invalid_request", "agent"),
    "a session with a body of 2 MiB": (
        "/v1/sessions",
        b" " * 2 * MEBIBYTE,
        413,
        "body_too_large",
        "1048576 bytes",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
async def test_it_is_refused_as_a_problem_that_helps(
    served: RuntimeProcess, case: tuple[str, bytes, int, str, str]
) -> None:
    path, body, status, code, words = case
    headers = {"Content-Type": "application/json"}
    async with client(served) as http, http.post(path, data=body, headers=headers) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["status"], problem["code"]) == (status, status, code)
    assert words in problem["detail"]
    assert problem["type"].endswith(code)
    assert problem["trace_id"] in response.headers["traceparent"]


CHAT_REFUSED = {
    "a body that is no JSON": (b"{", 400, "malformed_json"),
    "no messages": (_chat(messages=[]), 422, "invalid_body"),
    "a role that nobody knows": (
        _chat(messages=[{"role": "king", "content": "x"}]),
        422,
        "invalid_body",
    ),
    "a message without content": (_chat(messages=[{"role": "user"}]), 422, "invalid_body"),
    "a temperature of 9": (_chat(temperature=9), 422, "invalid_body"),
    "two answers at once": (_chat(n=2), 422, "invalid_body"),
    "an agent that does not exist": (_chat(model="ghost"), 404, "unknown_agent"),
    "a provider that does not exist": (_chat(model="ghost/model"), 404, "unknown_model"),
    "a provider that does not exist, streamed": (
        _chat(model="ghost/model", stream=True),
        404,
        "unknown_model",
    ),
    "tools for an agent": (
        _chat(tools=[{"type": "function", "function": {"name": "x"}}]),
        422,
        "tools_not_allowed",
    ),
    "an answer as the last message": (
        _chat(messages=[{"role": "assistant", "content": "x"}]),
        422,
        "invalid_body",
    ),
    "a message longer than allowed": (
        _chat(messages=[{"role": "user", "content": "x" * 10_001}]),
        422,
        "input_too_long",
    ),
}


@pytest.mark.parametrize(("body", "status", "code"), CHAT_REFUSED.values(), ids=CHAT_REFUSED.keys())
async def test_a_chat_completion_is_refused_in_openais_shape(
    served: RuntimeProcess, body: bytes, status: int, code: str
) -> None:
    headers = {"Content-Type": "application/json"}
    async with client(served) as http, http.post(CHAT, data=body, headers=headers) as response:
        error = (await response.json())["error"]
    assert (response.status, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}


async def test_a_body_without_announced_length_is_cut_off_too(served: RuntimeProcess) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * MEBIBYTE

    headers = {"Content-Type": "application/json"}
    async with (
        client(served) as http,
        http.post(EXECUTE, data=endless(), headers=headers) as answer,
    ):
        assert answer.status == 413


async def test_only_json_is_read(served: RuntimeProcess) -> None:
    async with client(served) as http, http.post(EXECUTE, data=b"message=x") as response:
        assert response.status == 415


async def test_a_compressed_body_is_refused_as_one(served: RuntimeProcess) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = gzip.compress(b'{"message":"x"}')
    async with client(served) as http, http.post(EXECUTE, data=body, headers=headers) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (415, "unsupported_media_type")
    assert "Content-Encoding" in problem["detail"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (EXECUTE, "POST"),
        (CHAT, "POST"),
        ("/v1/runtime/events", "GET"),
        ("/v1/sessions", "GET, POST"),
        ("/v1/sessions/x", "DELETE, GET"),
        ("/v1/api-keys", "GET, POST"),
        ("/v1/api-keys/x", "DELETE"),
    ],
)
async def test_another_method_is_refused_with_those_that_are_taken(
    served: RuntimeProcess, path: str, allowed: str
) -> None:
    async with client(served) as http, http.patch(path, json={}) as response:
        assert (response.status, response.headers["allow"]) == (405, allowed)


async def test_too_large_pages_are_refused(served: RuntimeProcess) -> None:
    async with client(served) as http, http.get("/v1/sessions?limit=201") as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["field"]) == (422, "limit")


PROTECTED = [
    ("POST", EXECUTE),
    ("POST", EXECUTE + "/stream"),
    ("POST", CHAT),
    ("GET", "/v1/sessions"),
    ("POST", "/v1/sessions"),
    ("GET", "/v1/sessions/x"),
    ("DELETE", "/v1/sessions/x"),
    ("GET", "/v1/sessions/x/messages"),
    ("GET", "/v1/agents"),
    ("GET", "/v1/models"),
    ("GET", "/metrics"),
    ("GET", "/v1/nothing"),
    ("GET", "/internal/state"),
]
BAD_CREDENTIALS = {
    "no key": {},
    "a wrong key": {"Authorization": "Bearer bh_wrong"},
    "half of the key": {"Authorization": f"Bearer {KEY[:-1]}"},
    "an empty key": {"Authorization": "Bearer "},
    "another scheme": {"Authorization": f"Basic {KEY}"},
    "the operator's token": {"Authorization": f"Bearer {INTERNAL_TOKEN}"},
    "no key and a Host like a path": {"Host": "x/health?"},
    "no key and a Host with a fragment": {"Host": "runtime#/health"},
    "no key and a Host with credentials": {"Host": "a@b"},
}


@pytest.mark.parametrize("headers", BAD_CREDENTIALS.values(), ids=BAD_CREDENTIALS.keys())
async def test_nothing_answers_to(served: RuntimeProcess, headers: dict[str, str]) -> None:
    async with client(served, key=None) as http:
        for method, path in PROTECTED:
            async with http.request(method, path, headers=headers, json={}) as response:
                assert response.status == 401, path
                assert response.headers["WWW-Authenticate"].startswith("Bearer")
                assert KEY not in await response.text()


async def test_a_request_that_names_another_organization_is_refused(served: RuntimeProcess) -> None:
    for name, status in (("globex", 403), ("acme", 200)):
        async with (
            client(served) as http,
            http.post(EXECUTE, json={"message": "x"}, headers={"X-Org-Id": name}) as response,
        ):
            assert response.status == status


async def test_the_api_key_does_not_open_the_operators_endpoint(served: RuntimeProcess) -> None:
    for token, status in ((KEY, 401), (INTERNAL_TOKEN, 200)):
        async with (
            aiohttp.ClientSession(served.internal_url) as http,
            http.get("/internal/state", headers={"Authorization": f"Bearer {token}"}) as response,
        ):
            assert response.status == status


@pytest.mark.parametrize("seconds", ["31", "-1", "x", "9" * 20])
async def test_a_wait_beyond_its_bound_is_refused(served: RuntimeProcess, seconds: str) -> None:
    headers = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}
    async with (
        aiohttp.ClientSession(served.internal_url, headers=headers) as http,
        http.get(f"/internal/state?hash=x&waitSeconds={seconds}") as response,
    ):
        assert response.status == 422


async def test_after_all_this_it_still_answers_and_logged_neither_keys_nor_texts(
    served: RuntimeProcess,
) -> None:
    secret = "a text that only the two of us know"
    async with (
        client(served) as http,
        http.post(EXECUTE, json={"message": secret}) as response,
    ):
        assert response.status == 200
    log = served.log_path.read_text()
    assert "Execution ended" in log
    assert not any(text in log for text in (secret, KEY, INTERNAL_TOKEN, "Traceback"))
