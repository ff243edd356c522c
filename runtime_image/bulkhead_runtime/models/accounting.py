"""What an answer took: what the provider counted, else a bound that is never too low."""

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.port import Usage
from bulkhead_runtime.models.prices import PriceBook


class Accounting:
    """Makes a provider's counts, or the bytes where it has none, into usage with its price."""

    def __init__(self, provider: ProviderConfig, prices: PriceBook) -> None:
        self._provider = provider.name
        self._prices = prices

    def counted(self, model: str, counts: tuple[int, int]) -> Usage:
        """Return the usage of the tokens that the provider told."""
        return self._usage(model, counts, estimated=False)

    def bounded(
        self, model: str, input_tokens: int, output_bytes: int, max_output_tokens: int
    ) -> Usage:
        """Return the usage of the most tokens that there can be of so many bytes.

        There are not more than were asked for, which is what had been reserved.
        """
        output_tokens = min(output_bytes, max_output_tokens)
        return self._usage(model, (input_tokens, output_tokens), estimated=True)

    def _usage(self, model: str, counts: tuple[int, int], *, estimated: bool) -> Usage:
        price = self._prices.facts(f"{self._provider}/{model}").price
        cost = price.cost(*counts) if price is not None else None
        return Usage(counts[0], counts[1], cost, estimated)
