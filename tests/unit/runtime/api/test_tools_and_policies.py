"""Tools run through the API, and policies that are added there and only narrow."""

from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead_api.v1alpha1.policies import NamedToolPolicy, ToolPolicy, ToolRule
from bulkhead_api.v1alpha1.tools import Tools
from tests.support.runtime_process import KEY, RuntimeFiles, RuntimeProcess, client, document

RUN = "/v1/tools/run"
CLOSED = NamedToolPolicy(name="closed", rules=(ToolRule(name="nothing", effect="Deny"),))
OPEN = NamedToolPolicy(name="open", rules=(ToolRule(name="all", effect="Allow"),))
SIX_TIMES_SEVEN = {"tool": "calculate", "arguments": {"expression": "6*7"}}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    files.follow((document(), 100), tools=Tools(policy=ToolPolicy(named=(CLOSED, OPEN))))
    with RuntimeProcess(files) as process:
        yield process


async def _ask(runtime: RuntimeProcess, method: str, path: str, **options: Any) -> tuple[int, Any]:
    async with client(runtime, key=KEY) as http, http.request(method, path, **options) as response:
        return response.status, await response.json(content_type=None)


async def test_a_tool_runs_and_says_in_its_envelope_what_went_wrong(
    runtime: RuntimeProcess,
) -> None:
    status, envelope = await _ask(runtime, "POST", RUN, json=SIX_TIMES_SEVEN)
    assert (status, envelope["ok"]) == (200, True)
    assert "42" in str(envelope["data"])
    broken = {"tool": "calculate", "arguments": {"expression": "1/0"}}
    status, envelope = await _ask(runtime, "POST", RUN, json=broken)
    assert (status, envelope["ok"]) == (200, False)
    assert envelope["error"]["code"]


async def test_the_tools_are_listed_with_their_arguments_and_risk(runtime: RuntimeProcess) -> None:
    status, listed = await _ask(runtime, "GET", "/v1/tools")
    tools = {tool["name"]: tool for tool in listed["data"]}
    assert status == 200
    assert {"calculate", "current_time"} <= set(tools)
    assert tools["calculate"]["risk"] == "low"
    assert tools["calculate"]["parameters"]["type"] == "object"


async def test_an_added_policy_denies_at_once_and_never_widens(runtime: RuntimeProcess) -> None:
    deny = {
        "name": "no-sums",
        "rules": [{"name": "sums", "effect": "Deny", "match": ["calculate"]}],
    }
    status, made = await _ask(runtime, "POST", "/v1/tool-policies", json=deny)
    assert (status, made["name"], made["added_by"]) == (201, "no-sums", "api-key")
    _, denied = await _ask(runtime, "POST", RUN, json=SIX_TIMES_SEVEN)
    assert "rule 'sums' of policy 'no-sums' denies it" in denied["error"]["message"]
    allow_all = {
        "name": "open",
        "rules": [{"name": "all", "effect": "Allow", "match": ["*"]}],
    }
    assert (await _ask(runtime, "POST", "/v1/tool-policies", json=allow_all))[0] == 201
    _, still_denied = await _ask(runtime, "POST", RUN, json=SIX_TIMES_SEVEN)
    assert still_denied == denied
    _, listed = await _ask(runtime, "GET", "/v1/tool-policies")
    assert [policy["name"] for policy in listed["data"]] == ["no-sums", "open"]
    assert listed["organization"]["rules"]
    for name in ("no-sums", "open"):
        assert (await _ask(runtime, "DELETE", f"/v1/tool-policies/{name}"))[0] == 204
    status, envelope = await _ask(runtime, "POST", RUN, json=SIX_TIMES_SEVEN)
    assert envelope["ok"] is True


async def test_a_model_policy_denies_a_model(runtime: RuntimeProcess) -> None:
    deny = {
        "name": "no-echo",
        "rules": [{"name": "echo", "effect": "Deny", "match": ["offline/*"]}],
    }
    assert (await _ask(runtime, "POST", "/v1/model-policies", json=deny))[0] == 201
    body = {"model": "offline/echo", "messages": [{"role": "user", "content": "x"}]}
    status, answer = await _ask(runtime, "POST", "/v1/chat/completions", json=body)
    assert (status, answer["error"]["code"]) == (403, "model_denied")
    assert (await _ask(runtime, "DELETE", "/v1/model-policies/no-echo"))[0] == 204
    assert (await _ask(runtime, "POST", "/v1/chat/completions", json=body))[0] == 200
    assert (await _ask(runtime, "DELETE", "/v1/model-policies/no-echo"))[0] == 404


INVALID: dict[str, dict[str, Any]] = {
    "no rules": {"name": "a", "rules": []},
    "a name with capitals": {"name": "A", "rules": [{"name": "a", "effect": "Deny"}]},
    "an effect that does not exist": {"name": "a", "rules": [{"name": "a", "effect": "Maybe"}]},
    "two rules of one name": {
        "name": "a",
        "rules": [{"name": "a", "effect": "Deny"}, {"name": "a", "effect": "Deny"}],
    },
}


@pytest.mark.parametrize("policy", INVALID.values(), ids=INVALID.keys())
async def test_no_policy_is_added_with(runtime: RuntimeProcess, policy: dict[str, Any]) -> None:
    status, problem = await _ask(runtime, "POST", "/v1/tool-policies", json=policy)
    assert status == 422
    assert problem["field"]


async def test_a_request_that_selects_a_policy_nobody_knows_is_denied(
    runtime: RuntimeProcess,
) -> None:
    headers = {"Bulkhead-Policies": "made-up"}
    _, envelope = await _ask(runtime, "POST", RUN, json=SIX_TIMES_SEVEN, headers=headers)
    assert "made-up" in str(envelope)
    assert envelope.get("ok") is not True
    headers = {"Bulkhead-Policies": "Not A Name"}
    status, problem = await _ask(runtime, "POST", RUN, json=SIX_TIMES_SEVEN, headers=headers)
    assert (status, problem["code"]) == (400, "invalid_policies")


async def test_a_header_that_is_sent_twice_narrows_twice(runtime: RuntimeProcess) -> None:
    twice = [("Bulkhead-Policies", "closed"), ("Bulkhead-Policies", "open")]
    for order in (twice, twice[::-1]):
        _, envelope = await _ask(runtime, "POST", RUN, json=SIX_TIMES_SEVEN, headers=order)
        assert "rule 'nothing' of policy 'closed' denies it" in str(envelope)
