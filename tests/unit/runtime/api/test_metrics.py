"""What a running runtime tells of its metrics: scraped, as documents, as they change, in time."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.support.deadline import until
from tests.support.runtime_process import KEY, RuntimeFiles, RuntimeProcess, client, document

EXECUTE = "/v1/agents/assistant/execute"
HISTORY = "/v1/metrics/history"
AT_REST = 300
HOSTILE = 10_000
SERIES_OF_A_HOSTILE_CLIENT = 700


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    key = {"name": "ada", "secretRef": {"name": "keys"}, "expiresAt": "2099-01-01T00:00:00Z"}
    files.api_keys.switch({"ada": b"key-of-ada"})
    files.follow(
        (document(), 100),
        authentication={"apiKeys": [{**key, "scopes": ["agents:run"]}]},
        budgets={"day": {"tokens": 1_000_000}},
    )
    with RuntimeProcess(files) as process:
        yield process


async def _get(runtime: RuntimeProcess, path: str, key: str = KEY, **query: Any) -> Any:
    async with client(runtime, key=key) as http, http.get(path, params=query) as response:
        return response.status, await response.json(content_type=None)


async def _turn(runtime: RuntimeProcess, to: str = "assistant") -> int:
    async with (
        client(runtime) as http,
        http.post(f"/v1/agents/{to}/execute", json={"message": "hello"}) as response,
    ):
        return response.status


async def _scraped(runtime: RuntimeProcess, accept: str = "") -> tuple[str, str]:
    async with (
        client(runtime) as http,
        http.get("/metrics", headers={"accept": accept}) as response,
    ):
        assert response.status == 200
        return await response.text(), response.headers["content-type"]


async def _values(runtime: RuntimeProcess) -> dict[str, dict[str, Any]]:
    """Return the samples of every metric that has one series without labels."""
    status, told = await _get(runtime, "/v1/metrics")
    assert status == 200
    return {metric["name"]: metric["samples"][0] for metric in told["data"]}


async def test_a_runtime_at_rest_has_few_series(runtime: RuntimeProcess) -> None:
    text, _ = await _scraped(runtime)
    families = text_string_to_metric_families(text)
    assert sum(len(family.samples) for family in families) < AT_REST


async def test_a_scrape_may_ask_for_openmetrics(runtime: RuntimeProcess) -> None:
    await _turn(runtime)
    plain, plain_type = await _scraped(runtime, "text/plain;version=0.0.4")
    text, open_type = await _scraped(runtime, "application/openmetrics-text;version=1.0.0,*/*;q=0")

    assert plain_type.startswith("text/plain")
    assert open_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name for family in openmetrics(text)}  # type: ignore[no-untyped-call]
    assert families == {family.name for family in text_string_to_metric_families(plain)}
    assert text.endswith("# EOF\n")


async def test_the_snapshot_has_what_the_page_of_requirements_lists(
    runtime: RuntimeProcess,
) -> None:
    assert await _turn(runtime) == 200
    before = time.time()
    found = await _values(runtime)

    assert found["bulkhead_execution_duration_seconds"]["count"] >= 1
    assert found["bulkhead_execution_duration_seconds"]["p95"] > 0
    assert found["bulkhead_first_token_seconds"]["labels"] == {"agent": "assistant"}
    assert found["bulkhead_turns_total"]["value"] >= 1
    assert found["bulkhead_agents"]["value"] == 1
    assert found["bulkhead_agents_active"]["value"] == 0
    assert found["bulkhead_executions_limit"]["value"] >= 1
    assert found["bulkhead_sessions"]["value"] >= 1
    assert found["bulkhead_pool_capacity_bytes"]["value"] == 64 * 1024 * 1024
    assert 0 < found["bulkhead_pool_used_bytes"]["value"] < 64 * 1024 * 1024
    assert found["bulkhead_storage_used_bytes"]["value"] > 0
    assert found["bulkhead_budget_limit"] == {
        "labels": {"scope": "day", "dimension": "tokens"},
        "value": 1_000_000,
    }
    assert found["gen_ai_client_token_usage_total"]["value"] >= 1
    assert found["bulkhead_api_key_expires_timestamp_seconds"] == {
        "labels": {"key": "ada"},
        "value": 4_070_908_800,
    }
    assert found["process_resident_memory_bytes"]["value"] > 10_000_000
    assert found["process_cpu_seconds_total"]["value"] > 0
    assert before - 3600 < found["process_start_time_seconds"]["value"] < before
    assert found["process_open_fds"]["value"] < found["process_max_fds"]["value"]


async def test_an_execution_that_is_refused_is_counted_by_its_code(
    runtime: RuntimeProcess,
) -> None:
    async with (
        client(runtime) as http,
        http.post(EXECUTE, json={"message": "x" * 1_000_000}) as response,
    ):
        assert response.status == 422
    text, _ = await _scraped(runtime)
    name = "bulkhead_execution_errors_total"
    assert f'{name}{{agent="assistant",class="input_too_long"}} 1.0' in text


async def test_hostile_names_through_the_api_make_no_series(runtime: RuntimeProcess) -> None:
    """Agents, models, tools, sessions, paths, keys and headers that a client may write."""
    async with client(runtime) as http:
        gate = asyncio.Semaphore(16)

        async def send(number: int) -> None:
            name = secrets.token_hex(16)
            requests = (
                ("POST", f"/v1/agents/{name}/execute", {"message": "x"}),
                ("POST", "/v1/chat/completions", _chat(name)),
                ("POST", "/v1/chat/completions", _chat(f"{name}/{name}")),
                ("POST", "/v1/chat/completions", _chat(f"offline/{name}")),
                ("POST", "/v1/tools/run", {"tool": name, "arguments": {}}),
                ("GET", f"/v1/{name}", None),
                ("GET", f"/v1/sessions/{name}", None),
                ("DELETE", f"/v1/api-keys/{name}", None),
            )
            method, path, body = requests[number % len(requests)]
            headers = {"authorization": f"Bearer {name}"} if number % 3 == 0 else {}
            async with gate, http.request(method, path, json=body, headers=headers) as response:
                assert response.status < 500

        await asyncio.gather(*(send(number) for number in range(HOSTILE)))
    text, _ = await _scraped(runtime)
    families = text_string_to_metric_families(text)
    assert sum(len(family.samples) for family in families) < SERIES_OF_A_HOSTILE_CLIENT


def _chat(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "x"}]}


async def _frames(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    event = ""
    async for line in response.content:
        if line.startswith(b"event: "):
            event = line.decode().removeprefix("event: ").strip()
        elif line.startswith(b"data: "):
            yield event, json.loads(line.removeprefix(b"data: "))


async def test_a_change_is_streamed_without_being_asked_for(runtime: RuntimeProcess) -> None:
    async with (
        client(runtime) as http,
        http.get("/v1/metrics/stream") as response,
    ):
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        frames = _frames(response)
        async with asyncio.timeout(30):
            event, told = await anext(frames)
            assert event == "snapshot"
            assert {"updated_at", "data"} == told.keys()
            await _turn(runtime)
            while (
                "bulkhead_executions_total" not in (metric["name"] for metric in told["data"])
                or event != "change"
            ):
                event, told = await anext(frames)
    changed = {metric["name"]: metric["samples"] for metric in told["data"]}
    (sample,) = changed["bulkhead_executions_total"]
    assert sample["labels"]["outcome"] == "completed"
    assert set(changed["bulkhead_execution_duration_seconds"][0]) >= {"count", "p50", "p95", "p99"}


async def test_what_was_is_read_after_an_interval_and_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    files = RuntimeFiles(tmp_path_factory.mktemp("restarted"))
    files.follow((document(), 100))
    for _ in range(2):
        with RuntimeProcess(files) as process:
            assert await _turn(process) == 200
            process.terminate()
            assert process.process.wait(60) == 0
    with RuntimeProcess(files) as process:
        status, told = await _get(
            process, HISTORY, metric=["bulkhead_executions_total", "bulkhead_first_token_seconds"]
        )
        assert status == 200
    assert (told["object"], told["step"]) == ("metric_history", 10)
    executions, first_token = told["data"]
    assert sum(point["value"] for point in executions["points"]) == 2
    assert sum(point["count"] for point in first_token["points"]) == 2


async def test_an_interval_that_ended_is_in_the_history(runtime: RuntimeProcess) -> None:
    await _turn(runtime)

    async def recorded() -> bool:
        _, told = await _get(runtime, HISTORY, metric="bulkhead_turns_total", step=60)
        return any(point["value"] for point in told["data"][0]["points"])

    await until(recorded, "the interval has been recorded")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        pytest.param({}, "metric", id="a history of nothing"),
        pytest.param({"metric": "x"}, "metric", id="a metric that is not recorded"),
        pytest.param(
            {"metric": "bulkhead_turns_total", "step": 5}, "step", id="a step that is not kept"
        ),
        pytest.param(
            {"metric": "bulkhead_turns_total", "from": "2026-01-01T00:00:00Z", "step": 10},
            "step",
            id="more steps than one answer holds",
        ),
        pytest.param(
            {
                "metric": "bulkhead_turns_total",
                "from": "2026-01-02T00:00:00Z",
                "to": "2026-01-01T00:00:00Z",
            },
            "from",
            id="an end before the beginning",
        ),
        pytest.param(
            {"metric": "bulkhead_turns_total", "from": "0001-01-01T00:00:00+14:00"},
            "from",
            id="a time before all times",
        ),
    ],
)
async def test_a_bad_question_about_the_past_is_refused_by_its_field(
    runtime: RuntimeProcess, query: dict[str, Any], field: str
) -> None:
    status, problem = await _get(runtime, HISTORY, **query)
    assert (status, problem["field"].split(".")[0]) == (422, field)


PAST_OF_TURNS = f"{HISTORY}?metric=bulkhead_turns_total"


@pytest.mark.parametrize("path", ["/v1/metrics", PAST_OF_TURNS, "/v1/metrics/stream", "/metrics"])
async def test_metrics_need_the_scope_to_read_usage(runtime: RuntimeProcess, path: str) -> None:
    status, problem = await _get(runtime, path, key="key-of-ada")
    assert (status, problem["code"]) == (403, "missing_scope")
