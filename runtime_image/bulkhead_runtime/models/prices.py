"""What a call costs, from a table made at build time.

The table, prices.json, is written by `python -m bulkhead_runtime.models.generate_prices`. Prices
are decimals from file to result: sums of money never pass through a float. A price is only told
where the seller is certain, by litellm's name or by the host of its API: the same model's name on
somebody's own server says nothing about its price.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from bulkhead_api.runtime_config import ProviderConfig

TABLE: Final = Path(__file__).with_name("prices.json")

SELLERS_BY_HOST: Final = {
    "api.openai.com": "openai",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.together.xyz": "together_ai",
    "api.fireworks.ai": "fireworks_ai",
    "api.x.ai": "xai",
    "api.cerebras.ai": "cerebras",
    "openrouter.ai": "openrouter",
    "generativelanguage.googleapis.com": "gemini",
}


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per token; `context_window` in tokens, None where the table knows none."""

    input: Decimal
    output: Decimal
    context_window: int | None

    def cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return what so many tokens cost, in US dollars."""
        return self.input * input_tokens + self.output * output_tokens


def seller_of(provider: ProviderConfig) -> str | None:
    """Return who sells a provider's models, as the table names sellers; None if uncertain."""
    if provider.base_url is not None:
        return SELLERS_BY_HOST.get(urlsplit(provider.base_url).hostname or "")
    return provider.name


def price_of(seller: str | None, model: str) -> Price | None:
    """Return the price of a seller's model, None where it is unknown."""
    if seller is None:
        return None
    row = _table().get(seller, {}).get(model)
    if row is None:
        return None
    return Price(input=Decimal(row[0]), output=Decimal(row[1]), context_window=row[2])


@cache
def _table() -> dict[str, dict[str, list[Any]]]:
    table: dict[str, dict[str, list[Any]]] = orjson.loads(TABLE.read_bytes())
    return table
