"""What models cost and hold: what the spec says, else a table made at build time.

The table, prices.json, is written by `python -m bulkhead_runtime.models.generate_prices`. Prices
are decimals from file to result: sums of money never pass through a float. The table is only asked
where the seller is certain, by litellm's name or by the host of its API: the same model's name on
somebody's own server says nothing about its price. It is read with the first question about it.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from bulkhead_api.names import OFFLINE_MODEL, OFFLINE_PROVIDER
from bulkhead_api.runtime_config import ModelsConfig, ProviderConfig
from bulkhead_api.v1alpha1.models import ModelPrice

TABLE: Final = Path(__file__).with_name("prices.json")
MILLION: Final = Decimal(1_000_000)
REMEMBERED_MODELS: Final = 256

MODERATION: Final = "moderation"
"""Names a provider's default moderation model, where the spec names none."""

MODERATORS: Final = " moderation"
"""Ends the name under which the table keeps a seller's models that no conversation can name."""

SELLERS_BY_HOST: Final = {
    "api.openai.com": "openai",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.together.xyz": "together_ai",
    "api.fireworks.ai": "fireworks_ai",
    "api.x.ai": "xai",
    "api.cerebras.ai": "cerebras",
    "generativelanguage.googleapis.com": "gemini",
}

CAPABILITIES: Final = {
    "t": "tools",
    "v": "vision",
    "r": "reasoning",
    "s": "structured_output",
    "a": "audio",
    "p": "pdf",
}
"""The table's letters."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per token; a prompt longer than `long_from` tokens is dearer as a whole."""

    input: Decimal
    output: Decimal
    long_from: int | None = None
    long_input: Decimal = Decimal(0)
    long_output: Decimal = Decimal(0)

    def cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return what so many tokens cost, in US dollars."""
        read, written = self.after(input_tokens)
        return read * input_tokens + written * output_tokens

    def after(self, input_tokens: int) -> tuple[Decimal, Decimal]:
        """Return what one token of a prompt of this length costs, and one of its answer."""
        if self.long_from is not None and input_tokens > self.long_from:
            return self.long_input, self.long_output
        return self.input, self.output


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model; sizes in tokens, None where nobody told."""

    price: Price | None = None
    context_window: int | None = None
    max_output: int | None = None
    capabilities: tuple[str, ...] = ()


UNKNOWN: Final = ModelFacts()
_EMBEDDED: Final = ModelFacts(Price(Decimal(0), Decimal(0)), capabilities=("tools",))


class PriceBook:
    """The facts of one configuration's models, by PROVIDER/MODEL.

    `facts` returns what is known of a model. Every call asks it several times, and a configuration
    never changes: it is worked out once.
    """

    def __init__(self, models: ModelsConfig) -> None:
        self._sellers = {provider.name: seller_of(provider) for provider in models.providers}
        self._told = {price.model: price for price in models.prices}
        self.facts = lru_cache(REMEMBERED_MODELS)(self._facts)

    def _facts(self, model: str) -> ModelFacts:
        if model == OFFLINE_MODEL:
            return _EMBEDDED
        provider, _, name = model.partition("/")
        facts = facts_of(self._sellers.get(provider), name)
        told = self._told.get(model)
        return facts if told is None else _with_told(facts, told)

    def moderation(self, provider: str, model: str | None) -> ModelFacts:
        """Return what is known of a moderation model; None is the provider's default.

        What the table knows of a default is what holds for all that the seller moderates with.
        """
        told = self._told.get(f"{provider}/{model or MODERATION}")
        seller = self._sellers.get(provider)
        known = names_of(_moderator(seller)) if model is None else (model,)
        found = {facts_of(_moderator(seller), name) for name in known}
        facts = found.pop() if len(found) == 1 else UNKNOWN
        return facts if told is None else _with_told(facts, told)

    def names(self, provider: str) -> tuple[str, ...]:
        """Return the models of a provider that are known, as PROVIDER/MODEL, in order."""
        if provider == OFFLINE_PROVIDER:
            return (OFFLINE_MODEL,)
        prefix = f"{provider}/"
        known = {prefix + name for name in names_of(self._sellers.get(provider))}
        return tuple(sorted(known | {name for name in self._told if name.startswith(prefix)}))


def seller_of(provider: ProviderConfig) -> str | None:
    """Return who sells a provider's models, as the table names sellers; None if uncertain."""
    if provider.base_url is not None:
        return SELLERS_BY_HOST.get(urlsplit(provider.base_url).hostname or "")
    return provider.name


def facts_of(seller: str | None, model: str) -> ModelFacts:
    """Return what the table knows of a seller's model."""
    row = _models_of(seller).get(model)
    if row is None:
        return UNKNOWN
    long_from, long_input, long_output = row[5:8] if len(row) > 5 else (None, 0, 0)  # noqa: PLR2004
    return ModelFacts(
        price=Price(
            Decimal(row[0]), Decimal(row[1]), long_from, Decimal(long_input), Decimal(long_output)
        ),
        context_window=row[2],
        max_output=row[3],
        capabilities=tuple(CAPABILITIES[letter] for letter in row[4]),
    )


def _moderator(seller: str | None) -> str | None:
    return None if seller is None else seller + MODERATORS


def names_of(seller: str | None) -> tuple[str, ...]:
    """Return the names of a seller's models."""
    return tuple(_models_of(seller))


def _with_told(facts: ModelFacts, told: ModelPrice) -> ModelFacts:
    price = Price(
        Decimal(told.input_per_million) / MILLION, Decimal(told.output_per_million) / MILLION
    )
    return replace(
        facts,
        price=price,
        context_window=told.context_window or facts.context_window,
        max_output=told.max_output or facts.max_output,
    )


def _models_of(seller: str | None) -> dict[str, list[Any]]:
    """Return a seller's models; a provider's name has a dash where litellm's has an underscore."""
    if seller is None:
        return {}
    table = _table()
    return table.get(seller) or table.get(seller.replace("-", "_"), {})


@cache
def _table() -> dict[str, dict[str, list[Any]]]:
    table: dict[str, dict[str, list[Any]]] = orjson.loads(TABLE.read_bytes())
    return table
