from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_api.v1alpha1.models import CircuitBreaker, ModelPrice
from bulkhead_runtime.models.catalog import MAX_ENTRIES
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import CatalogEntry
from bulkhead_runtime.models.router import ModelRouter
from tests.support.stub_provider import StubProvider
from tests.unit.runtime.models.routers import hear, provider, router_of

OWN = ModelPrice(
    model="up/llama",
    input_per_million="0.25",
    output_per_million="1",
    context_window=8192,
    max_output=1024,
)


@pytest.fixture
def make_router(tmp_path: Path, stub: StubProvider) -> Any:
    def make(**models: Any) -> Any:
        return router_of(
            tmp_path,
            provider(
                "up", stub.base_url, max_retries=0, circuit_breaker=CircuitBreaker(failures=1)
            ),
            provider("gpt", "https://api.openai.com/v1", has_credentials=True),
            ProviderConfig(name="anthropic", type="LiteLLM"),
            prices=(OWN,),
            **models,
        )

    return make


def by_id(router: ModelRouter) -> dict[str, CatalogEntry]:
    return {entry.id: entry for entry in router.catalog()}


async def test_a_model_is_listed_with_price_sizes_lane_and_abilities(make_router: Any) -> None:
    async with make_router() as router:
        entries = by_id(router)
    gpt = entries["gpt/gpt-4o"]
    assert (gpt.input_per_million, gpt.output_per_million) == (Decimal("2.5"), Decimal(10))
    assert (gpt.context_window, gpt.max_output, gpt.lane) == (128_000, 16_384, "direct")
    assert "vision" in gpt.capabilities
    assert entries["anthropic/*"].lane == "translated"
    assert entries["up/llama"] == CatalogEntry(
        "up/llama", "up", "direct", Decimal("0.25"), Decimal(1), 8192, 1024
    )
    embedded = entries["offline/echo"]
    assert (embedded.lane, embedded.input_per_million) == ("embedded", Decimal(0))


async def test_it_says_what_cannot_be_asked_now(make_router: Any) -> None:
    async with make_router() as router:
        with pytest.raises(ModelError):
            await hear(router, "up/error")
        entries = by_id(router)
    assert entries["gpt/gpt-4o"].unavailable == "no API key is mounted"
    assert "keeps failing" in (entries["up/llama"].unavailable or "")
    assert entries["anthropic/*"].unavailable is None


async def test_only_what_is_allowed_is_listed(make_router: Any) -> None:
    async with make_router(allowed=("gpt/gpt-4o*",)) as router:
        known = [entry.id for entry in router.catalog() if not entry.id.endswith("/*")]
    assert "gpt/gpt-4o" in known
    assert all(name.startswith("gpt/gpt-4o") for name in known)


async def test_the_catalogue_is_bounded(tmp_path: Path) -> None:
    sellers = ("bedrock", "fireworks_ai", "azure", "deepinfra", "novita", "vertex_ai", "openai")
    more = ("azure_ai", "vercel_ai_gateway", "together_ai", "openrouter", "gemini", "anthropic")
    providers = (ProviderConfig(name=name, type="LiteLLM") for name in (*sellers, *more))
    prices = tuple(
        ModelPrice(model=f"openai/m{number}", input_per_million="1", output_per_million="1")
        for number in range(1000)
    )
    async with router_of(tmp_path, *providers, prices=prices) as router:
        assert len(router.catalog()) == MAX_ENTRIES
