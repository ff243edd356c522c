import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from bulkhead_api.runtime_config import ModelsConfig, ProviderConfig
from bulkhead_runtime.models.fast_lane.client import FastLaneClient
from bulkhead_runtime.models.fast_lane.connections import Connections
from bulkhead_runtime.models.port import ModelMessage, ModelRequest, ToolSpec
from bulkhead_runtime.models.prices import PriceBook
from tests.support.stub_provider import StubProvider, running

KEY = "sk-canary-0123456789abcdef"
NO_PRICES = PriceBook(ModelsConfig(default="offline/echo"))
CALCULATE = ToolSpec("calculate", "Calculates.", {"type": "object"})

UNCOUNTED = (
    pytest.param("no-usage", id="a provider that does not count"),
    pytest.param("miscounts;input=0;output=0", id="a provider that counts nothing"),
    pytest.param("miscounts;input=7;output=0", id="one that counts the input alone"),
    pytest.param("miscounts;input=-7;output=5", id="less than nothing"),
    pytest.param("miscounts;input=7;output=9999999999", id="more than there can be"),
)
"""Models whose usage nobody told, or not as it can be."""

MakeClient = Callable[..., FastLaneClient]


@pytest.fixture(scope="session")
def provider_process() -> Iterator[StubProvider]:
    with running() as stub:
        yield stub


@pytest.fixture
def stub(provider_process: StubProvider) -> StubProvider:
    provider_process.forget()
    return provider_process


@pytest.fixture
async def make_client(stub: StubProvider) -> AsyncIterator[MakeClient]:
    """Make clients of the stub; `base_url` and `timeout_seconds` of the provider can be told."""
    connections = Connections()

    def make(base_url: str | None = None, timeout_seconds: int = 30) -> FastLaneClient:
        provider = ProviderConfig(
            name="up",
            type="OpenAICompatible",
            base_url=base_url or stub.base_url,
            has_credentials=True,
            timeout_seconds=timeout_seconds,
        )
        return FastLaneClient(provider, KEY, connections, NO_PRICES)

    yield make
    await connections.aclose()


def request(
    model: str,
    *,
    text: str = "Hello",
    seconds: float = 60,
    tools: tuple[ToolSpec, ...] = (),
    messages: tuple[ModelMessage, ...] = (),
) -> ModelRequest:
    return ModelRequest(
        model=model,
        messages=messages or (ModelMessage("user", text),),
        max_output_tokens=64,
        deadline=time.monotonic() + seconds,
        tools=tools,
    )
