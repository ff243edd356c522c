"""The catalogue of models: what may be asked for, what it costs and holds, and if it answers."""

import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Final

from bulkhead_api.names import OFFLINE_MODEL, OFFLINE_PROVIDER
from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.port import CatalogEntry, Lane
from bulkhead_runtime.models.prices import MILLION, PriceBook
from bulkhead_runtime.models.providers import Providers

MAX_ENTRIES: Final = 2_000


def catalog(providers: Providers, allowed: Callable[[str], bool]) -> tuple[CatalogEntry, ...]:
    """Return the allowed models, the embedded one first, then by name; at most 2,000."""
    return tuple(islice(_entries(providers, allowed), MAX_ENTRIES))


def _entries(providers: Providers, allowed: Callable[[str], bool]) -> Iterator[CatalogEntry]:
    if allowed(OFFLINE_MODEL):
        yield _entry(OFFLINE_MODEL, OFFLINE_PROVIDER, "embedded", providers.prices, None)
    now = time.monotonic()
    for provider in providers.configured():
        unavailable = _unavailable(providers, provider, now)
        lane: Lane = "direct" if provider.type == "OpenAICompatible" else "translated"
        for model in providers.prices.names(provider.name):
            if allowed(model):
                yield _entry(model, provider.name, lane, providers.prices, unavailable)
        # Further models than the known ones can be named too; the patterns judge each by its name.
        yield CatalogEntry(f"{provider.name}/*", provider.name, lane, unavailable=unavailable)


def _entry(
    model: str, provider: str, lane: Lane, prices: PriceBook, unavailable: str | None
) -> CatalogEntry:
    facts = prices.facts(model)
    return CatalogEntry(
        id=model,
        provider=provider,
        lane=lane,
        input_per_million=_per_million(facts.price.input) if facts.price else None,
        output_per_million=_per_million(facts.price.output) if facts.price else None,
        context_window=facts.context_window,
        max_output=facts.max_output,
        capabilities=facts.capabilities,
        unavailable=unavailable,
    )


def _per_million(price: Decimal) -> Decimal:
    return (price * MILLION).normalize()


def _unavailable(providers: Providers, provider: ProviderConfig, now: float) -> str | None:
    if providers.is_keyless(provider):
        return "no API key is mounted"
    wait = providers.circuit_wait(provider.name, now)
    return f"it keeps failing and is not asked for {wait:.0f} seconds" if wait > 0 else None
