from decimal import Decimal

import pytest

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.generate_prices import make_table, render_table
from bulkhead_runtime.models.prices import TABLE, price_of, seller_of


def provider(name: str, base_url: str | None) -> ProviderConfig:
    return ProviderConfig(
        name=name, type="OpenAICompatible" if base_url else "LiteLLM", base_url=base_url
    )


def test_cost_is_an_exact_decimal() -> None:
    price = price_of("openai", "gpt-4o")
    assert price is not None
    assert price.cost(1_000, 100) == Decimal("0.0035")
    assert price.context_window == 128_000


@pytest.mark.parametrize(
    ("name", "base_url", "seller"),
    [
        pytest.param("gpt", "https://api.openai.com/v1", "openai", id="known by its host"),
        pytest.param("openai", "http://vllm.models:8000/v1", None, id="a name proves nothing"),
        pytest.param("anthropic", None, "anthropic", id="known by litellm's name"),
    ],
)
def test_a_price_is_told_only_where_the_seller_is_certain(
    name: str, base_url: str | None, seller: str | None
) -> None:
    assert seller_of(provider(name, base_url)) == seller


@pytest.mark.parametrize(
    ("seller", "model"), [(None, "gpt-4o"), ("openai", "gpt-unheard"), ("nobody", "gpt-4o")]
)
def test_what_is_unknown_has_no_price(seller: str | None, model: str) -> None:
    assert price_of(seller, model) is None


def test_the_table_is_small_enough_to_load_with_the_first_answer() -> None:
    assert TABLE.stat().st_size < 256 * 1024


def test_the_table_is_that_of_the_locked_litellm() -> None:
    assert TABLE.read_text() == render_table()


def test_the_table_names_models_as_calls_do() -> None:
    chat = {"mode": "chat", "input_cost_per_token": Decimal("1e-06"), "output_cost_per_token": 0}
    table = make_table(
        {
            "xai/grok": {**chat, "litellm_provider": "xai", "max_input_tokens": 10},
            "nova": {**chat, "litellm_provider": "bedrock_converse"},
            "picture": {**chat, "litellm_provider": "xai", "mode": "image_generation"},
            "free": {"mode": "chat", "litellm_provider": "xai"},
        }
    )
    assert table == {
        "xai": {"grok": ["0.000001", "0", 10]},
        "bedrock": {"nova": ["0.000001", "0", None]},
    }
