"""What one request may still use, counted down in the process by everything that it starts.

A request and its children share one allowance, so that many children never use more together than
their parent had. It bounds beside the accounts of the store, which know nothing of requests.
"""

from collections.abc import Mapping
from decimal import Decimal

from bulkhead_runtime.store.spending import Amounts, Dimension

_NOTHING = Decimal(0)


class Allowance:
    """Counts down what `limits` bounds; a dimension that they leave out is not bounded.

    A `parent` is counted down too, and bounds what is left here.
    """

    def __init__(self, limits: Amounts, parent: "Allowance | None" = None) -> None:
        self._limits = limits
        self._used: dict[Dimension, Decimal] = {}
        self._parent = parent

    @property
    def used(self) -> Amounts:
        """Return what was used so far."""
        return self._used

    @property
    def limits(self) -> Amounts:
        """Return what it began with."""
        return self._limits

    def left(self, dimension: Dimension) -> Decimal | None:
        """Return what is left, never below zero; None where nothing bounds it."""
        above = None if self._parent is None else self._parent.left(dimension)
        limit = self._limits.get(dimension)
        if limit is None:
            return above
        own = max(_NOTHING, limit - self._used.get(dimension, _NOTHING))
        return own if above is None else min(own, above)

    def lacks(self, wanted: Amounts) -> Dimension | None:
        """Return the first dimension that has less left than is wanted."""
        for dimension, amount in wanted.items():
            left = self.left(dimension)
            if left is not None and amount > left:
                return dimension
        return None

    def use(self, amounts: Amounts) -> None:
        """Count what was used, even beyond what was left."""
        for dimension, amount in amounts.items():
            self._used[dimension] = self._used.get(dimension, _NOTHING) + amount
        if self._parent is not None:
            self._parent.use(amounts)

    def narrowed(self, limits: Mapping[Dimension, Decimal]) -> "Allowance":
        """Return a part of this one: what uses it uses this one too."""
        return Allowance(limits, self)
