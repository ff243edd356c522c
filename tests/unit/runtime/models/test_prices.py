from decimal import Decimal

import pytest

from bulkhead_api.runtime_config import ModelsConfig, ProviderConfig
from bulkhead_api.v1alpha1.models import ModelPrice
from bulkhead_runtime.models.generate_prices import make_table, render_table
from bulkhead_runtime.models.prices import (
    SELLERS_BY_HOST,
    TABLE,
    UNKNOWN,
    ModelFacts,
    Price,
    PriceBook,
    facts_of,
    names_of,
    seller_of,
)


def provider(name: str, base_url: str | None) -> ProviderConfig:
    return ProviderConfig(
        name=name, type="OpenAICompatible" if base_url else "LiteLLM", base_url=base_url
    )


def book_of(*prices: ModelPrice, base_url: str | None = "http://gpt/v1") -> PriceBook:
    return PriceBook(
        ModelsConfig(default="gpt/x", providers=(provider("gpt", base_url),), prices=prices)
    )


def test_cost_is_an_exact_decimal() -> None:
    facts = facts_of("openai", "gpt-4o")
    assert facts.price is not None
    assert facts.price.cost(1_000, 100) == Decimal("0.0035")
    assert (facts.context_window, facts.max_output) == (128_000, 16_384)
    assert {"tools", "vision", "structured_output"} <= set(facts.capabilities)


@pytest.mark.parametrize(
    ("tokens", "dollars"),
    [
        pytest.param(200_000, "0.6", id="up to the bound every token costs the usual"),
        pytest.param(200_001, "1.200006", id="a longer prompt is dearer as a whole"),
    ],
)
def test_a_long_prompt_costs_what_the_seller_asks_for_long_prompts(
    tokens: int, dollars: str
) -> None:
    price = Price(Decimal("3E-6"), Decimal(0), 200_000, Decimal("6E-6"), Decimal(0))
    assert price.cost(tokens, 0) == Decimal(dollars)


def test_the_table_knows_where_long_prompts_begin() -> None:
    price = facts_of("bedrock", "anthropic.claude-sonnet-4-20250514-v1:0").price
    assert price is not None
    assert (price.long_from, price.long_input) == (200_000, Decimal("0.000006"))


def test_what_the_spec_says_goes_before_the_table() -> None:
    told = ModelPrice(model="gpt/gpt-4o", input_per_million="1", output_per_million="2.50")
    book = book_of(told, base_url="https://api.openai.com/v1")
    facts = book.facts("gpt/gpt-4o")
    assert facts.price is not None
    assert facts.price.cost(1_000_000, 1_000_000) == Decimal("3.5")
    assert facts.context_window == 128_000
    assert book.facts("gpt/gpt-4o-mini").price != facts.price


def test_the_spec_names_models_that_no_table_knows() -> None:
    told = ModelPrice(
        model="gpt/llama",
        input_per_million="0",
        output_per_million="0",
        context_window=8192,
        max_output=1024,
    )
    book = book_of(told, base_url="http://vllm:8000/v1")
    assert book.facts("gpt/llama") == ModelFacts(Price(Decimal(0), Decimal(0)), 8192, 1024)
    assert book.names("gpt") == ("gpt/llama",)


@pytest.mark.parametrize(
    ("base_url", "model", "price"),
    [
        pytest.param(
            "https://api.openai.com/v1",
            None,
            Price(Decimal(0), Decimal(0)),
            id="openai moderates free of charge, whatever its default is",
        ),
        pytest.param(
            "https://api.openai.com/v1",
            "omni-moderation-latest",
            Price(Decimal(0), Decimal(0)),
            id="and so does the model by its name",
        ),
        pytest.param(
            "http://own/v1", None, None, id="what a server of one's own costs nobody told"
        ),
    ],
)
def test_a_moderation_has_a_price_where_its_seller_is_certain(
    base_url: str, model: str | None, price: Price | None
) -> None:
    assert book_of(base_url=base_url).moderation("gpt", model).price == price


def test_the_spec_names_the_price_of_the_default_moderation() -> None:
    told = ModelPrice(model="gpt/moderation", input_per_million="3", output_per_million="0")
    price = book_of(told).moderation("gpt", None).price
    assert price == Price(Decimal("0.000003"), Decimal(0))


def test_no_model_that_only_moderates_can_be_asked_to_answer() -> None:
    book = book_of(base_url="https://api.openai.com/v1")
    assert not [name for name in book.names("gpt") if "moderation" in name]


def test_the_embedded_model_costs_nothing() -> None:
    price = book_of().facts("offline/echo").price
    assert price is not None
    assert price.cost(1_000_000, 1_000_000) == 0


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


def test_the_table_has_prices_of_every_seller_that_is_known_by_its_host() -> None:
    assert [seller for seller in SELLERS_BY_HOST.values() if not names_of(seller)] == []


def test_a_provider_is_known_by_a_dns_label_for_litellms_name() -> None:
    assert names_of("together-ai") == names_of("together_ai") != ()
    (model, *_) = names_of("together_ai")
    assert facts_of("together-ai", model).price is not None


@pytest.mark.parametrize(
    ("seller", "model"), [(None, "gpt-4o"), ("openai", "gpt-unheard"), ("nobody", "gpt-4o")]
)
def test_what_is_unknown_has_no_price(seller: str | None, model: str) -> None:
    assert facts_of(seller, model) == UNKNOWN


def test_the_table_is_small_enough_to_load_with_the_first_answer() -> None:
    assert TABLE.stat().st_size < 256 * 1024


def test_the_table_is_that_of_the_locked_litellm() -> None:
    assert TABLE.read_text() == render_table()


def test_the_table_names_models_as_calls_do() -> None:
    chat = {"mode": "chat", "input_cost_per_token": Decimal("1e-06"), "output_cost_per_token": 0}
    table = make_table(
        {
            "xai/grok": {
                **chat,
                "litellm_provider": "xai",
                "max_input_tokens": 10,
                "max_output_tokens": 4,
                "supports_function_calling": True,
                "supports_vision": True,
                "input_cost_per_token_above_128k_tokens": Decimal("2e-06"),
                "output_cost_per_token_above_128k_tokens": 1,
            },
            "nova": {**chat, "litellm_provider": "bedrock_converse"},
            "picture": {**chat, "litellm_provider": "xai", "mode": "image_generation"},
            "free": {"mode": "chat", "litellm_provider": "xai"},
        }
    )
    assert table == {
        "xai": {"grok": ["0.000001", "0", 10, 4, "tv", 128_000, "0.000002", "1"]},
        "bedrock": {"nova": ["0.000001", "0", None, None, ""]},
    }
