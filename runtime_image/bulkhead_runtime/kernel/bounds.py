"""The worst case of one model call, and how far its output can be cut to what a budget leaves."""

import math
from decimal import ROUND_FLOOR, Decimal
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from bulkhead_runtime.models.port import CallBound
from bulkhead_runtime.store.spending import Amounts, Dimension

MIN_OUTPUT_TOKENS: Final = 16
"""An answer cut shorter than this is of no use: the call is refused instead."""

_ONE: Final = Decimal(1)


class CallNeed(CallBound, frozen=True):
    """What a model call can take at most, to be reserved, and how much less would do."""

    @classmethod
    def of(cls, bound: CallBound) -> "CallNeed":
        """Return the need of a call with this bound."""
        return cls(bound.input_tokens, bound.output_tokens, bound.input_cost, bound.output_price)

    def reading(self, tokens: int) -> "CallNeed":
        """Return the need of the same call with another number of input tokens."""
        if self.input_cost is None or not self.input_tokens:
            return replace(self, input_tokens=tokens)
        price = self.input_cost / self.input_tokens
        return replace(self, input_tokens=tokens, input_cost=price * tokens)

    def amounts(self) -> dict[Dimension, Decimal]:
        """Return what is to be reserved."""
        needed: dict[Dimension, Decimal] = {
            "tokens": Decimal(self.input_tokens + self.output_tokens),
            "turns": _ONE,
        }
        if self.cost is not None:
            needed["cost"] = self.cost
        return needed

    def cut(self, dimension: Dimension, left: Decimal) -> "CallNeed | None":
        """Return the need with its output cut to what is left; None where that is too little."""
        room = self._output_room(dimension, left)
        if room is None or room < min(MIN_OUTPUT_TOKENS, self.output_tokens):
            return None
        return replace(self, output_tokens=min(room, self.output_tokens))

    def _output_room(self, dimension: Dimension, left: Decimal) -> int | None:
        if dimension == "tokens":
            return int(left.to_integral_value(ROUND_FLOOR)) - self.input_tokens
        if dimension == "cost" and self.input_cost is not None and self.output_price:
            return int(
                ((left - self.input_cost) / self.output_price).to_integral_value(ROUND_FLOOR)
            )
        return None


class Wanted(Struct, frozen=True):
    """What one step of work asks to have reserved; nothing cuts what is `beside` its call."""

    call: CallNeed | None = None
    tool_calls: int = 0
    seconds: Decimal | None = None
    beside: Amounts = field(default_factory=dict)

    def amounts(self) -> dict[Dimension, Decimal]:
        """Return what is to be reserved."""
        amounts = {} if self.call is None else self.call.amounts()
        if self.tool_calls:
            amounts["tool_calls"] = Decimal(self.tool_calls)
        if self.seconds is not None:
            amounts["seconds"] = self.seconds
        for dimension, amount in self.beside.items():
            amounts[dimension] = amounts.get(dimension, Decimal(0)) + amount
        return amounts

    def cut(self, dimension: Dimension, left: Decimal) -> "Wanted | None":
        """Return as much of this as can be done with what is left; None where that is nothing."""
        if dimension == "seconds" and left >= 1:
            return replace(self, seconds=left)
        left -= self.beside.get(dimension, Decimal(0))
        call = self.call.cut(dimension, left) if self.call is not None else None
        return None if call is None else replace(self, call=call)

    def fits(self, dimension: Dimension, room: Decimal) -> bool:
        """Tell whether so much room would do for this, or for less of it."""
        wanted = self.amounts().get(dimension, Decimal(0))
        return wanted <= room or self.cut(dimension, room) is not None


def whole_seconds(seconds: float) -> Decimal:
    """Return seconds as budgets count them: a begun one counts whole."""
    return Decimal(math.ceil(max(0.0, seconds)))
