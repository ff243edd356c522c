"""What a running runtime tells of its work: events as pages and streams, and what was used."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import aiohttp
import pytest

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.api.event_feed import MAX_FOLLOWERS
from tests.support.deadline import until
from tests.support.runtime_process import (
    KEY,
    RuntimeFiles,
    RuntimeProcess,
    agent,
    client,
    document,
)
from tests.support.stub_provider import StubProvider

EXECUTE = "/v1/agents/assistant/execute"
NOTHING: Mapping[str, str] = MappingProxyType({})
EVENTS = "/v1/runtime/events"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    entries = [
        {"name": name, "secretRef": {"name": "keys"}, "scopes": scopes}
        for name, scopes in {
            "ada": ["agents:run", "events:read", "usage:read"],
            "bob": ["agents:run", "events:read"],
        }.items()
    ]
    files.api_keys.switch({"ada": b"key-of-ada", "bob": b"key-of-bob"})
    files.follow((document(), 100), authentication={"apiKeys": entries})
    with RuntimeProcess(files) as process:
        yield process


async def _get(runtime: RuntimeProcess, path: str, key: str = KEY, **query: Any) -> Any:
    async with client(runtime, key=key) as http, http.get(path, params=query) as response:
        return response.status, await response.json(content_type=None)


async def _turn(runtime: RuntimeProcess, key: str = KEY) -> str:
    async with (
        client(runtime, key=key) as http,
        http.post(EXECUTE, json={"message": "What is 6 times 7?"}) as response,
    ):
        assert response.status == 200
        session_id: str = (await response.json())["session_id"]
        return session_id


async def _events(runtime: RuntimeProcess, key: str = KEY, **query: Any) -> list[dict[str, Any]]:
    """Return events once the turn's last one is stored, which the turn does not wait for."""
    found: list[dict[str, Any]] = []

    async def complete() -> bool:
        status, page = await _get(runtime, EVENTS, key, **query)
        assert status == 200, page
        found[:] = page["data"]
        return any(event["type"] == "request.complete" for event in found)

    await until(complete, "the turn's events are stored")
    return found


async def test_a_turns_events_are_listed_in_order_and_filtered(runtime: RuntimeProcess) -> None:
    session_id = await _turn(runtime)
    events = await _events(runtime, session_id=session_id)
    types = [event["type"] for event in events]
    assert types.index("request.start") < types.index("request.complete")
    assert types.count("session.created") == 1
    assert [e["sequence"] for e in events] == sorted(e["sequence"] for e in events)
    assert {event["session_id"] for event in events} == {session_id}
    _, page = await _get(runtime, EVENTS, session_id=session_id, type="request.start")
    assert [event["type"] for event in page["data"]] == ["request.start"]
    _, first = await _get(runtime, EVENTS, session_id=session_id, limit=1)
    _, rest = await _get(runtime, EVENTS, session_id=session_id, after=first["next_after"])
    assert first["data"] + rest["data"] == events
    _, newest = await _get(runtime, EVENTS, session_id=session_id, limit=2, newest="true")
    assert newest["data"] == events[-2:]
    assert (newest["next_after"], newest["has_more"]) == (events[-1]["sequence"], False)


async def test_what_a_client_has_in_hand_finds_the_events_of_its_request(
    runtime: RuntimeProcess,
) -> None:
    async with client(runtime) as http:
        asked = {"X-Request-Id": "gateway-17"}
        async with http.post(EXECUTE, json={"message": "hello"}, headers=asked) as response:
            trace_id = response.headers["traceparent"].split("-")[1]
    events = await _events(runtime, trace_id=trace_id)
    told = {event["type"]: event["data"].get("request_id") for event in events}
    assert told["request.start"] == told["request.complete"] == "gateway-17"
    assert len({event["run_id"] for event in events}) == 1


async def test_everybody_sees_their_own_events_and_nobody_elses(runtime: RuntimeProcess) -> None:
    session_id = await _turn(runtime, "key-of-ada")
    await _events(runtime, "key-of-ada", session_id=session_id)
    assert (await _get(runtime, EVENTS, "key-of-bob", session_id=session_id))[1]["data"] == []
    status, problem = await _get(runtime, EVENTS, "key-of-bob", principal="ada")
    assert (status, problem["code"]) == (403, "missing_scope")
    assert await _events(runtime, principal="ada", session_id=session_id)


async def _follow(
    runtime: RuntimeProcess,
    heard: list[dict[str, Any]],
    key: str,
    query: Mapping[str, str] = NOTHING,
    headers: Mapping[str, str] = NOTHING,
) -> None:
    asked = {"follow": "true", **query}
    async with (
        client(runtime, key=key, timeout=aiohttp.ClientTimeout(total=60)) as http,
        http.get(EVENTS, params=asked, headers=headers) as response,
    ):
        assert response.content_type == "text/event-stream"
        async for line in response.content:
            heard += [json.loads(line[6:])] if line.startswith(b"data: ") else []


async def test_a_follower_hears_what_happens_and_resumes_where_it_stopped(
    runtime: RuntimeProcess,
) -> None:
    heard: list[dict[str, Any]] = []
    follower = asyncio.create_task(_follow(runtime, heard, "key-of-bob"))

    async def completed(count: int) -> bool:
        return [event["type"] for event in heard].count("request.complete") >= count

    await _turn(runtime, "key-of-bob")
    await until(lambda: completed(1), "the first turn is heard")
    follower.cancel()
    with suppress(asyncio.CancelledError):
        await follower
    last = heard[-1]["sequence"]
    await _turn(runtime, "key-of-bob")
    again = asyncio.create_task(
        _follow(runtime, heard, "key-of-bob", headers={"Last-Event-ID": str(last)})
    )
    await until(lambda: completed(2), "the second turn is heard")
    again.cancel()
    with suppress(asyncio.CancelledError):
        await again
    sequences = [event["sequence"] for event in heard]
    assert sequences == sorted(set(sequences)), "none twice, none out of order"
    assert {event["principal"] for event in heard} == {"bob"}


async def test_a_follower_may_begin_with_the_newest_and_misses_nothing_when_it_comes_back(
    runtime: RuntimeProcess,
) -> None:
    before = await _events(runtime, session_id=await _turn(runtime))
    heard: list[dict[str, Any]] = []
    tail = {"newest": "true", "limit": "1"}
    follower = asyncio.create_task(_follow(runtime, heard, KEY, tail))

    async def hears(event: dict[str, Any]) -> bool:
        return event in heard

    await until(lambda: hears(before[-1]), "the newest is heard")
    follower.cancel()
    with suppress(asyncio.CancelledError):
        await follower
    assert heard[0] == before[-1]

    missed = await _events(runtime, session_id=await _turn(runtime))
    last = str(heard[-1]["sequence"])
    again = asyncio.create_task(_follow(runtime, heard, KEY, tail, {"Last-Event-ID": last}))
    await until(lambda: hears(missed[-1]), "what happened meanwhile is heard")
    again.cancel()
    with suppress(asyncio.CancelledError):
        await again
    assert [event for event in heard if event in missed] == missed


async def test_one_follower_too_many_is_refused_and_let_in_when_another_has_gone(
    runtime: RuntimeProcess,
) -> None:
    follow = {"follow": "true"}
    everybody = aiohttp.TCPConnector(limit=0)
    async with client(runtime, connector=everybody) as http, client(runtime) as late:
        followers: list[aiohttp.ClientResponse] = []

        async def all_follow() -> bool:
            missing = MAX_FOLLOWERS - len(followers)
            asked = (http.get(EVENTS, params=follow) for _ in range(missing))
            followers.extend(one for one in await asyncio.gather(*asked) if one.status == 200)
            return len(followers) == MAX_FOLLOWERS

        await until(all_follow, "those of other tests have gone")
        async with late.get(EVENTS, params=follow) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "10")
            assert (await response.json(content_type=None))["code"] == "too_many_followers"
        followers[0].close()

        async def let_in() -> bool:
            async with late.get(EVENTS, params=follow) as response:
                return response.status == 200

        await until(let_in, "the place of the one who left is free")


async def test_an_interruption_is_told_of_the_one_who_interrupts(
    files: RuntimeFiles, provider: StubProvider
) -> None:
    hanging = document("1.0.0", agent(model="stub/hang"))
    config = ProviderConfig(name="stub", type="OpenAICompatible", base_url=provider.base_url)
    files.follow((hanging, 100), providers=(config,))
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:
            async with http.post("/v1/sessions", json={"agent": "assistant"}) as response:
                session = (await response.json())["id"]
            body = {"message": "x", "session_id": session}
            turn = asyncio.create_task(http.post(EXECUTE, json=body).__aenter__())
            assert await provider.asked()
            async with http.post(f"/v1/sessions/{session}/interrupt") as response:
                assert response.status == 202
            assert (await turn).status == 409
        wanted = {"session_id": session, "type": "session.interrupted"}

        async def told() -> bool:
            _, page = await _get(runtime, EVENTS, **wanted)
            return [event["principal"] for event in page["data"]] == ["api-key"]

        await until(told, "the interruption is stored")


INVALID = {
    "a type that does not exist": {"type": "made.up"},
    "a sequence before the first": {"after": "-1"},
    "a sequence that is no number": {"after": "x"},
    "more than a page may hold": {"limit": "201"},
    "neither true nor false": {"follow": "yes"},
    "a parameter that nobody knows": {"since": "1"},
    "a session with U+0000": {"session_id": "a\x00b"},
}


@pytest.mark.parametrize("query", INVALID.values(), ids=INVALID.keys())
async def test_events_are_refused_for(runtime: RuntimeProcess, query: dict[str, str]) -> None:
    status, problem = await _get(runtime, EVENTS, **query)
    assert (status, problem["code"]) == (422, "invalid_query")
    assert problem["field"] == next(iter(query))


async def test_usage_adds_up_to_the_ledger_however_it_is_grouped(runtime: RuntimeProcess) -> None:
    await _turn(runtime)
    await _turn(runtime, "key-of-ada")
    lines: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        status, page = await _get(runtime, "/v1/usage/ledger", "key-of-ada", **query)
        assert status == 200, page
        lines += page["data"]
        cursor = page["next_cursor"]
    assert len({line["id"] for line in lines}) == len(lines) >= 2
    for by in (["day"], ["model"], ["agent", "principal"], ["type", "day"]):
        async with (
            client(runtime, key="key-of-ada") as http,
            http.get("/v1/usage", params=[("by", group) for group in by]) as response,
        ):
            report = await response.json()
        total = report["total"]
        assert total["uses"] == len(lines)
        assert total["total_tokens"] == sum(line["total_tokens"] for line in lines)
        assert total["total_tokens"] == sum(row["total_tokens"] for row in report["data"])
        assert all(row[group] is not None for row in report["data"] for group in by)


async def test_usage_of_a_span_that_ends_before_it_begins_is_refused(
    runtime: RuntimeProcess,
) -> None:
    query = {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    status, problem = await _get(runtime, "/v1/usage", **query)
    assert (status, problem["field"]) == (422, "since")
