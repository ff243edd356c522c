"""A stream whose model says nothing for long is kept open, as proxies want it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead_api.runtime_config import ProviderConfig
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, client, document
from tests.support.stub_provider import StubProvider

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
CHATTING = {"model": "stub/silent", "messages": [{"role": "user", "content": "x"}]}
CONFLICT = 409
TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.fixture
def runtime(files: RuntimeFiles, provider: StubProvider) -> Iterator[RuntimeProcess]:
    stub = ProviderConfig(name="stub", type="OpenAICompatible", base_url=provider.base_url)
    files.follow((document(), 100), providers=(stub,))
    with RuntimeProcess(files) as process:
        yield process


async def _begun(
    runtime: RuntimeProcess, path: str, body: dict[str, Any], *, key: str, until: asyncio.Event
) -> tuple[int, bytes]:
    """Return the status and the first line of a stream, which its client leaves then."""
    headers = {"Idempotency-Key": key} if key else {}
    async with (
        client(runtime) as http,
        http.post(path, json={**body, "stream": True}, headers=headers) as response,
    ):
        line = await response.content.readline()
        if response.status == CONFLICT:
            until.set()
        await until.wait()
        return response.status, line


async def test_a_stream_begins_though_its_model_is_silent_and_no_sooner_than_it_is_asked(
    runtime: RuntimeProcess, provider: StubProvider
) -> None:
    provider.forget()
    until = asyncio.Event()
    passed_through, decoded, response, *twice = await asyncio.gather(
        *(
            _begun(runtime, path, body, key=key, until=until)
            for path, body, key in (
                (CHAT, CHATTING, ""),
                (CHAT, {**CHATTING, "tools": TOOLS}, ""),
                (RESPONSES, {"model": "stub/silent", "input": "x"}, ""),
                (CHAT, CHATTING, "once"),
                (CHAT, CHATTING, "once"),
            )
        )
    )
    assert passed_through == (200, b": keep-alive\n")
    assert (decoded[0], decoded[1][:6]) == (200, b"data: ")
    assert response == (200, b"event: response.created\n")
    # Whoever waits for another's answer learns by a status that there is none yet.
    assert {status for status, _ in twice} == {200, CONFLICT}
    assert await provider.cancelled(4)
