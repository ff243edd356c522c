import re

import aiohttp

from tests.support.runtime_events import chunks, events
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document

EXECUTE = "/v1/agents/assistant/execute"


async def test_one_call_begins_a_session_and_another_continues_it(runtime: RuntimeProcess) -> None:
    async with client(runtime) as http:
        async with http.post(EXECUTE, json={"message": "hello"}) as response:
            first = await response.json()
        again = {"message": "and again", "session_id": first["session_id"]}
        async with http.post(EXECUTE, json=again) as response:
            second = await response.json()

    assert first["status"] == second["status"] == "completed"
    assert first["session_id"] == second["session_id"]
    assert (first["agent"], first["version"], first["model"]) == (
        "assistant",
        "1.0.0",
        "offline/echo",
    )
    usage = first["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    assert usage["cost"] == "0"
    assert "hello" in first["answer"]
    assert "turn 2" in second["answer"]


async def test_a_stream_brings_meta_then_tokens_then_the_whole_answer(
    runtime: RuntimeProcess,
) -> None:
    async with (
        client(runtime) as http,
        http.post(f"{EXECUTE}/stream", json={"message": "hello"}) as response,
    ):
        found = await events(response)
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Accel-Buffering"] == "no"

    names = [name for name, _ in found]
    assert names == ["meta", *["token"] * (len(found) - 2), "done"]
    meta, done = found[0][1], found[-1][1]
    assert "".join(data["text"] for name, data in found if name == "token") == done["answer"]
    assert meta["session_id"] == done["session_id"]
    assert meta["trace_id"] == done["trace_id"]
    assert set(meta) == {"trace_id", "session_id", "agent", "version", "model"}


async def test_tools_are_called_and_the_history_tells_of_it(runtime: RuntimeProcess) -> None:
    async with client(runtime) as http:
        message = {"message": "what is 2+3*4?"}
        async with http.post("/v1/agents/tooled/execute", json=message) as response:
            result = await response.json()
        async with http.get(f"/v1/sessions/{result['session_id']}") as response:
            session = await response.json()

    assert "14" in result["answer"]
    messages = session["messages"]["data"]
    assert [item["role"] for item in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[1]["tool_calls"][0]["name"] == "calculate"
    assert messages[2]["tool_call_id"] == messages[1]["tool_calls"][0]["id"]
    assert '"ok":true' in messages[2]["content"]


async def test_an_agent_without_tools_is_offered_none(runtime: RuntimeProcess) -> None:
    async with (
        client(runtime) as http,
        http.post(EXECUTE, json={"message": "what is 2+3*4?"}) as response,
    ):
        result = await response.json()
    assert "14" not in result["answer"]


async def test_an_agent_that_never_comes_to_an_answer_ends_with_a_status(
    files: RuntimeFiles,
) -> None:
    files.follow((document("1.0.0", agent(tools=["calculate"], maxIterations=1)), 100))
    with RuntimeProcess(files) as runtime:
        async with (
            client(runtime) as http,
            http.post(f"{EXECUTE}/stream", json={"message": "what is 2+3*4?"}) as response,
        ):
            found = await events(response)
    done = found[-1][1]
    assert done["status"] == "completed_with_errors"
    assert "stopped after 1 rounds" in done["answer"]
    assert "".join(data["text"] for name, data in found if name == "token") == done["answer"]


async def test_sessions_are_made_listed_paged_and_deleted(runtime: RuntimeProcess) -> None:
    async with client(runtime) as http:
        made = []
        for number in range(5):
            body = {"agent": "assistant", "metadata": {"number": str(number)}}
            async with http.post("/v1/sessions", json=body) as response:
                assert response.status == 201
                made.append((await response.json())["id"])
        listed, cursor = [], ""
        while cursor is not None:
            path = "/v1/sessions?limit=2" + (f"&cursor={cursor}" if cursor else "")
            async with http.get(path) as response:
                page = await response.json()
            listed += [session["id"] for session in page["data"]]
            cursor = page["next_cursor"]
        assert sorted(listed) == sorted(made)

        body = {"message": "hello", "session_id": made[0]}
        async with http.post(EXECUTE, json=body) as response:
            assert response.status == 200
        path = f"/v1/sessions/{made[0]}/messages?limit=1"
        async with http.get(path) as response:
            first = await response.json()
        async with http.get(f"{path}&cursor={first['next_cursor']}") as response:
            second = await response.json()
        assert [first["data"][0]["role"], second["data"][0]["role"]] == ["user", "assistant"]
        assert (first["has_more"], second["has_more"]) == (True, False)

        async with http.delete(f"/v1/sessions/{made[0]}") as response:
            assert response.status == 204
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/messages")):
            async with http.request(method, f"/v1/sessions/{made[0]}{path}") as response:
                assert response.status == 404


async def test_a_session_belongs_to_one_agent(runtime: RuntimeProcess) -> None:
    async with client(runtime) as http:
        async with http.post(EXECUTE, json={"message": "x"}) as response:
            session_id = (await response.json())["session_id"]
        body = {"message": "x", "session_id": session_id}
        async with http.post("/v1/agents/tooled/execute", json=body) as response:
            problem = await response.json(content_type=None)
    assert (response.status, problem["code"]) == (409, "session_of_other_agent")


async def test_a_chat_completion_runs_an_agent(runtime: RuntimeProcess) -> None:
    body = {"model": "tooled", "messages": [{"role": "user", "content": "what is 2+3*4?"}]}
    async with client(runtime) as http:
        async with http.post("/v1/chat/completions", json=body) as response:
            whole = await response.json()
        streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
        async with http.post("/v1/chat/completions", json=streamed) as response:
            frames = await chunks(response)
        async with http.get("/v1/sessions") as response:
            sessions = await response.json()

    assert whole["object"] == "chat.completion"
    assert whole["model"] == "tooled"
    assert "14" in whole["choices"][0]["message"]["content"]
    assert whole["usage"]["total_tokens"] > 0
    assert frames[-1] == "[DONE]"
    assert frames[-2]["usage"] == whole["usage"]
    text = "".join(
        choice["delta"].get("content", "") for frame in frames[:-1] for choice in frame["choices"]
    )
    assert text == whole["choices"][0]["message"]["content"]
    assert len({frame["id"] for frame in frames[:-1]}) == 1
    assert sessions["data"] == []


async def test_a_chat_completion_addresses_a_model_directly(runtime: RuntimeProcess) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "calculate",
            "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}},
        },
    }
    body = {
        "model": "offline/echo",
        "messages": [{"role": "user", "content": "what is 2+3*4?"}],
        "tools": [tool],
    }
    async with client(runtime) as http:
        async with http.post("/v1/chat/completions", json=body) as response:
            whole = await response.json()
        async with http.post("/v1/chat/completions", json={**body, "stream": True}) as response:
            frames = await chunks(response)

    choice = whole["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "calculate"
    calls = [
        call
        for frame in frames[:-1]
        for choice in frame["choices"]
        for call in choice["delta"].get("tool_calls", [])
    ]
    assert [call["function"]["name"] for call in calls] == ["calculate"]


async def test_agents_and_models_are_listed(runtime: RuntimeProcess) -> None:
    async with client(runtime) as http:
        async with http.get("/v1/agents") as response:
            agents = (await response.json())["data"]
        async with http.get("/v1/agents/assistant") as response:
            one = await response.json()
        async with http.get("/v1/models") as response:
            models = await response.json()
    assert [item["name"] for item in agents] == ["assistant", "tooled"]
    assert one == agents[0]
    assert models["object"] == "list"
    assert [item["id"] for item in models["data"]] == ["assistant", "tooled", "offline/echo"]


async def test_the_openapi_document_describes_every_path(runtime: RuntimeProcess) -> None:
    async with client(runtime, key=None) as http, http.get("/openapi.json") as response:
        document = await response.json()
    assert set(document["paths"]) == {
        "/health",
        "/readiness",
        "/metrics",
        "/v1/agents",
        "/v1/agents/{agent}",
        "/v1/agents/{agent}/execute",
        "/v1/agents/{agent}/execute/stream",
        "/v1/api-keys",
        "/v1/api-keys/{name}",
        "/v1/chat/completions",
        "/v1/llm/router/catalog",
        "/v1/metrics",
        "/v1/metrics/history",
        "/v1/metrics/stream",
        "/v1/model-policies",
        "/v1/model-policies/{name}",
        "/v1/models",
        "/v1/responses",
        "/v1/runtime/events",
        "/v1/sessions",
        "/v1/sessions/{session_id}",
        "/v1/sessions/{session_id}/export",
        "/v1/sessions/{session_id}/interrupt",
        "/v1/sessions/{session_id}/messages",
        "/v1/tool-policies",
        "/v1/tool-policies/{name}",
        "/v1/tools",
        "/v1/tools/run",
        "/v1/usage",
        "/v1/usage/ledger",
    }
    references = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert references <= set(document["components"]["schemas"])


async def test_a_trace_goes_on_and_request_ids_come_back(runtime: RuntimeProcess) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "x-request-id": "mine-7"}
    async with (
        client(runtime) as http,
        http.post(EXECUTE, json={"message": "x"}, headers=headers) as response,
    ):
        body = await response.json()
    assert body["trace_id"] == trace
    assert response.headers["traceparent"].split("-")[1] == trace
    assert response.headers["x-request-id"] == "mine-7"


async def test_metrics_tell_what_happened_with_bounded_labels(runtime: RuntimeProcess) -> None:
    async with client(runtime) as http:
        async with http.post(EXECUTE, json={"message": "x"}) as response:
            assert response.status == 200
        async with http.post("/v1/agents/made-up/execute", json={"message": "x"}) as response:
            assert response.status == 404
    async with (
        aiohttp.ClientSession(runtime.internal_url) as http,
        http.get("/metrics") as response,
    ):
        text = await response.text()
    completed = 'agent="assistant",outcome="completed",package="helper",version="1.0.0"} 1.0'
    assert f"bulkhead_executions_total{{{completed}" in text
    assert 'bulkhead_package_version_weight{package="helper",version="1.0.0"} 100.0' in text
    assert "bulkhead_sessions 1.0" in text
    assert 'route="/v1/agents/{agent}/execute",status="404"' in text
    assert "made-up" not in text
