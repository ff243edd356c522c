"""What an answer took: what the provider counted, else a bound that is never too low."""

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_runtime.models.port import Usage
from bulkhead_runtime.models.prices import price_of, seller_of


class Accounting:
    """Makes a provider's counts, or the bytes where it has none, into usage with its price."""

    def __init__(self, provider: ProviderConfig) -> None:
        self._seller = seller_of(provider)

    def counted(self, model: str, counts: tuple[int, int]) -> Usage:
        """Return the usage of the tokens that the provider told."""
        return self._usage(model, counts, estimated=False)

    def bounded(self, model: str, input_bytes: int, output_bytes: int) -> Usage:
        """Return the usage of as many tokens as there are bytes, the most there can be."""
        return self._usage(model, (input_bytes, output_bytes), estimated=True)

    def _usage(self, model: str, counts: tuple[int, int], *, estimated: bool) -> Usage:
        price = price_of(self._seller, model)
        cost = price.cost(*counts) if price is not None else None
        return Usage(counts[0], counts[1], cost, estimated)
