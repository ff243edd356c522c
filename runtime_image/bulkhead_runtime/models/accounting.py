"""What an answer took: what the provider counted, else a bound that is never too low."""

from typing import Final

from bulkhead_runtime.models.counting import input_bound
from bulkhead_runtime.models.port import ByteRequest, ModelRequest, Usage
from bulkhead_runtime.models.prices import PriceBook

MAX_TOKENS: Final = 2**31 - 1

Counts = tuple[int, int]
"""Input and output tokens."""


def counts_of(read: object, written: object) -> Counts | None:
    """Return the tokens that a provider told, None where they count no conversation.

    One of no tokens is none: some servers write zeros where they do not count.
    """
    # A bool is an int, too.
    if type(read) is not int or type(written) is not int:
        return None
    return (read, written) if 0 < read <= MAX_TOKENS and 0 <= written <= MAX_TOKENS else None


class Accounting:
    """Makes a provider's counts, or the bytes where it has none, into usage with its price."""

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices

    def usage(
        self, request: ModelRequest | ByteRequest, counts: Counts | None, output_bytes: int
    ) -> Usage:
        """Return the usage of the tokens that the provider told, else of the most there can be.

        There are not more of them than were asked for, which is what had been reserved. Nobody
        says something in no tokens.
        """
        estimated = counts is None or (counts[1] == 0 and output_bytes > 0)
        if counts is None or estimated:
            counts = (input_bound(request), min(output_bytes, request.max_output_tokens))
        price = self._prices.facts(request.model).price
        cost = price.cost(*counts) if price is not None else None
        return Usage(*counts, cost, estimated)
