"""OpenAI's parameters are sent on whichever way an answer comes, or refused by name."""

from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead_api.runtime_config import ProviderConfig
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document
from tests.support.stub_provider import StubProvider

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
MESSAGES = [{"role": "user", "content": "x"}]
SCHEMA = {"name": "a", "schema": {"type": "object"}, "strict": True}
WEATHER = {"name": "weather", "parameters": {"type": "object"}, "strict": True}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA"}

WISHES: dict[str, Any] = {
    "top_p": 0.5,
    "stop": ["END"],
    "seed": 7,
    "presence_penalty": 1,
    "frequency_penalty": -1,
    "logit_bias": {"50256": -100},
    "response_format": {"type": "json_schema", "json_schema": SCHEMA},
    "reasoning_effort": "low",
    "verbosity": "high",
    "temperature": 0.25,
}
AS_A_RESPONSE: dict[str, Any] = {
    "top_p": 0.5,
    "presence_penalty": 1,
    "frequency_penalty": -1,
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", **SCHEMA}, "verbosity": "high"},
    "temperature": 0.25,
}
OF_RESPONSES = ("top_p", "presence_penalty", "frequency_penalty", "response_format",
                "reasoning_effort", "verbosity", "temperature")  # fmt: skip
HARMLESS: dict[str, Any] = {
    "metadata": {"a": "b"},
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "safety_identifier": "u",
    "service_tier": "auto",
    "stream_options": {"include_obfuscation": False},
    "user": "u",
}


@pytest.fixture(scope="module")
def runtime(
    provider: StubProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RuntimeProcess]:
    files = RuntimeFiles(tmp_path_factory.mktemp("runtime"))
    stub = ProviderConfig(name="stub", type="OpenAICompatible", base_url=provider.base_url)
    files.follow((document("1.0.0", agent(model="stub/words")), 100), providers=(stub,))
    with RuntimeProcess(files) as process:
        yield process


async def _post(runtime: RuntimeProcess, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    asked = {"messages": MESSAGES} if path == CHAT else {"input": "x"}
    async with (
        client(runtime) as http,
        http.post(path, json={"model": "stub/words", **asked, **body}) as response,
    ):
        text = await response.text()
        return response.status, text if body.get("stream") else await response.json()


async def _sent(
    runtime: RuntimeProcess, provider: StubProvider, path: str, body: dict[str, Any]
) -> dict[str, Any]:
    """Return what the provider was asked."""
    provider.forget()
    status, answer = await _post(runtime, path, body)
    assert status == 200, answer
    (request,) = provider.requests
    return request.body


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", ["assistant", "stub/words"])
async def test_what_changes_a_completion_is_sent_on(
    runtime: RuntimeProcess, provider: StubProvider, model: str, stream: bool
) -> None:
    body = {"model": model, "stream": stream, **WISHES}
    sent = await _sent(runtime, provider, CHAT, body)
    assert {name: sent.get(name) for name in WISHES} == WISHES


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "how", [{"model": "stub/words"}, {"model": "assistant"}, {"model": "assistant", "store": False}]
)
async def test_what_changes_a_response_is_sent_on(
    runtime: RuntimeProcess, provider: StubProvider, how: dict[str, Any], stream: bool
) -> None:
    sent = await _sent(runtime, provider, RESPONSES, {**how, "stream": stream, **AS_A_RESPONSE})
    assert {name: sent.get(name) for name in OF_RESPONSES} == {
        name: WISHES[name] for name in OF_RESPONSES
    }


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_what_changes_nothing_is_taken_and_kept_here(
    runtime: RuntimeProcess, provider: StubProvider, path: str, stream: bool
) -> None:
    sent = await _sent(runtime, provider, path, {"stream": stream, **HARMLESS})
    assert set(sent) == {"model", "messages", "stream", "stream_options", "max_tokens"}


@pytest.mark.parametrize(
    ("path", "tool"),
    [
        pytest.param(CHAT, {"type": "function", "function": WEATHER}, id="chat completions"),
        pytest.param(RESPONSES, {"type": "function", **WEATHER}, id="responses"),
    ],
)
async def test_a_strict_function_is_offered_as_strict(
    runtime: RuntimeProcess, provider: StubProvider, path: str, tool: dict[str, Any]
) -> None:
    sent = await _sent(runtime, provider, path, {"tools": [tool]})
    assert sent["tools"][0]["function"]["strict"] is True


async def test_a_response_says_what_was_asked_for(runtime: RuntimeProcess) -> None:
    asked = {**AS_A_RESPONSE, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k"}
    status, made = await _post(runtime, RESPONSES, asked)
    told = {**asked, "reasoning": {"effort": "low", "summary": None}}
    assert (status, {name: made[name] for name in asked}) == (200, told)


async def test_an_agent_is_shown_an_image_in_a_response_that_is_not_stored(
    runtime: RuntimeProcess, provider: StubProvider
) -> None:
    asked = {"model": "assistant", "input": [{"role": "user", "content": [IMAGE]}]}
    provider.forget()
    status, made = await _post(runtime, RESPONSES, asked)
    assert (status, made["store"]) == (200, False)
    (request,) = provider.requests
    assert request.body["messages"][-1]["content"][0]["type"] == "image_url"


async def test_a_refusal_of_the_assistant_is_part_of_the_conversation(
    runtime: RuntimeProcess, provider: StubProvider
) -> None:
    refusal = {"role": "assistant", "content": None, "refusal": "I would rather not."}
    sent = await _sent(runtime, provider, CHAT, {"messages": [*MESSAGES, refusal, *MESSAGES]})
    assert sent["messages"][1] == {"role": "assistant", "content": "I would rather not."}


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a model that a provider would fall back to": (CHAT, {"models": ["stub/dear"]}, "models"),
    "a service that costs more": (CHAT, {"service_tier": "priority"}, "service_tier"),
    "sound": (CHAT, {"modalities": ["audio"], "audio": {"voice": "alloy"}}, "modalities[0]"),
    "probabilities": (CHAT, {"logprobs": True}, "logprobs"),
    "a completion that is stored": (CHAT, {"store": True}, "store"),
    "functions of former times": (CHAT, {"functions": [{"name": "f"}]}, "functions"),
    "a search": (CHAT, {"web_search_options": {}}, "web_search_options"),
    "a tool to choose that is none": (CHAT, {"tool_choice": "sometimes"}, "tool_choice"),
    "a tool's answer to no call": (
        CHAT,
        {"messages": [*MESSAGES, {"role": "tool", "content": "x"}]},
        "messages[1].tool_call_id",
    ),
    "a tool to choose for an agent": (
        CHAT,
        {"model": "assistant", "tool_choice": "required"},
        "tool_choice",
    ),
    "a conversation of OpenAI's": (RESPONSES, {"conversation": "conv_1"}, "conversation"),
    "a prompt that OpenAI stores": (RESPONSES, {"prompt": {"id": "pmpt_1"}}, "prompt"),
    "input that is cut to fit": (RESPONSES, {"truncation": "auto"}, "truncation"),
    "a number of tool calls": (RESPONSES, {"max_tool_calls": 1}, "max_tool_calls"),
    "a summary of thoughts": (
        RESPONSES,
        {"reasoning": {"summary": "detailed"}},
        "reasoning.summary",
    ),
    "probabilities of a response": (
        RESPONSES,
        {"include": ["message.output_text.logprobs"]},
        "include[0]",
    ),
    "tools for an agent's response": (
        RESPONSES,
        {"model": "assistant", "tools": [{"type": "function", "name": "f"}]},
        "tools",
    ),
    "an image out of a function": (
        RESPONSES,
        {"input": [{"type": "function_call_output", "call_id": "c", "output": [IMAGE]}]},
        "input[0].output",
    ),
    "what nobody knows": (RESPONSES, {"foo": 1}, "foo"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
async def test_what_would_silently_not_hold_is_refused(
    runtime: RuntimeProcess,
    provider: StubProvider,
    case: tuple[str, dict[str, Any], str],
    stream: bool,
) -> None:
    path, body, param = case
    provider.forget()
    asked = {"messages": MESSAGES} if path == CHAT else {"input": "x"}
    async with (
        client(runtime) as http,
        http.post(
            path, json={"model": "stub/words", **asked, **body, "stream": stream}
        ) as response,
    ):
        error = (await response.json())["error"]
    told = (response.status, error["param"], error["type"])
    assert told == (422, param, "invalid_request_error")
    assert f"`{param}`" in error["message"]
    assert provider.requests == []
