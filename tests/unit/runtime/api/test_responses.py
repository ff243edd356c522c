"""What a caller of /v1/responses asks of an agent's stored turn holds."""

import asyncio
from typing import Any

import pytest

from bulkhead_api.runtime_config import ProviderConfig
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document
from tests.support.stub_provider import StubProvider


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        pytest.param({"max_output_tokens": 77}, 77, id="less than the agent may write"),
        pytest.param({"max_output_tokens": 5_000}, 2_048, id="more than the agent may write"),
        pytest.param({}, 2_048, id="nothing"),
    ],
)
async def test_a_stored_turn_writes_at_most_what_caller_and_agent_allow(
    files: RuntimeFiles, provider: StubProvider, asked: dict[str, Any], sent: int
) -> None:
    stub = ProviderConfig(name="stub", type="OpenAICompatible", base_url=provider.base_url)
    files.follow(
        (document("1.0.0", agent(model="stub/words")), 100),
        providers=(stub,),
    )
    body = {"model": "assistant", "input": "x", "temperature": 0.25, **asked}
    provider.forget()
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http, http.post("/v1/responses", json=body) as response:
            assert response.status == 200, await response.text()

    (request,) = provider.requests
    assert (request.body["max_tokens"], request.body["temperature"]) == (sent, 0.25)


async def test_of_two_that_continue_the_same_response_at_once_one_does(
    files: RuntimeFiles, provider: StubProvider
) -> None:
    stub = ProviderConfig(name="stub", type="OpenAICompatible", base_url=provider.base_url)
    slow = agent(model="stub/words;delay_ms=100")
    files.follow((document("1.0.0", slow), 100), providers=(stub,))
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:

            async def respond(**fields: Any) -> tuple[int, dict[str, Any]]:
                body = {"model": "assistant", "input": "x", **fields}
                async with http.post("/v1/responses", json=body) as response:
                    return response.status, await response.json()

            _, first = await respond()
            both = await asyncio.gather(
                *(respond(previous_response_id=first["id"]) for _ in range(2))
            )
    (well, second), (refused, error) = sorted(both, key=lambda answer: answer[0])
    assert (well, second["previous_response_id"]) == (200, first["id"])
    assert (refused, error["error"]["code"]) == (400, "previous_response_not_found")
