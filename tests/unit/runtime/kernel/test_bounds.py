"""Worst cases of calls and allowances, in exact decimals."""

from decimal import Decimal

from hypothesis import assume, given
from hypothesis import strategies as st

from bulkhead_runtime.kernel.allowance import Allowance
from bulkhead_runtime.kernel.bounds import MIN_OUTPUT_TOKENS, CallNeed, Wanted
from bulkhead_runtime.models.port import CallBound

PRICES = st.integers(0, 10**9).map(lambda units: Decimal(units) / 10**12)
TOKENS = st.integers(1, 200_000)


def _need(input_tokens: int, output_tokens: int, price_in: Decimal, price_out: Decimal) -> CallNeed:
    bound = CallBound(input_tokens, output_tokens, price_in * input_tokens, price_out)
    return CallNeed.of(bound)


@given(TOKENS, TOKENS, PRICES, PRICES, st.decimals(0, 1000, places=6))
def test_a_call_cut_to_what_is_left_never_costs_more(
    input_tokens: int, output_tokens: int, price_in: Decimal, price_out: Decimal, left: Decimal
) -> None:
    need = _need(input_tokens, output_tokens, price_in, price_out)
    cut = need.cut("cost", left)
    assume(cut is not None)
    assert cut is not None
    assert cut.output_tokens <= output_tokens
    exact = price_in * input_tokens + price_out * cut.output_tokens
    assert exact <= left or cut.output_tokens == output_tokens


@given(TOKENS, TOKENS, st.integers(0, 500_000))
def test_a_call_cut_to_the_tokens_left_keeps_its_input_or_is_refused(
    input_tokens: int, output_tokens: int, left: int
) -> None:
    need = _need(input_tokens, output_tokens, Decimal(0), Decimal(0))
    cut = need.cut("tokens", Decimal(left))
    room = left - input_tokens
    if room < min(MIN_OUTPUT_TOKENS, output_tokens):
        assert cut is None
    else:
        assert cut is not None
        assert cut.output_tokens == min(room, output_tokens)
        assert cut.input_tokens == input_tokens


def test_what_cannot_be_cut_is_refused() -> None:
    assert Wanted(tool_calls=3).cut("tool_calls", Decimal(2)) is None
    assert Wanted(seconds=Decimal(30)).cut("seconds", Decimal(0)) is None
    cut = Wanted(seconds=Decimal(30)).cut("seconds", Decimal(12))
    assert cut == Wanted(seconds=Decimal(12))


def test_what_is_beside_a_call_is_never_cut_and_leaves_the_call_less_room() -> None:
    need = _need(100, 1_000, Decimal(0), Decimal(0))
    wanted = Wanted(need, beside={"tokens": Decimal(50)})
    assert wanted.amounts()["tokens"] == 1_150
    cut = wanted.cut("tokens", Decimal(400))
    assert cut is not None
    assert cut.amounts()["tokens"] == 400
    assert cut.beside == {"tokens": Decimal(50)}


def test_a_child_never_has_more_than_its_parent_has_left() -> None:
    parent = Allowance({"tokens": Decimal(100), "cost": Decimal(1)})
    child = parent.narrowed({"tokens": Decimal(80)})
    sibling = parent.narrowed({"tokens": Decimal(500)})
    child.use({"tokens": Decimal(60), "cost": Decimal("0.4")})
    assert child.left("tokens") == 20
    assert sibling.left("tokens") == parent.left("tokens") == 40
    assert sibling.left("cost") == Decimal("0.6")
    assert sibling.lacks({"turns": Decimal(1), "tokens": Decimal(41)}) == "tokens"
    assert sibling.lacks({"turns": Decimal(1), "tokens": Decimal(40)}) is None
    assert sibling.left("turns") is None


def test_what_was_used_beyond_leaves_nothing_and_not_less() -> None:
    allowance = Allowance({"tokens": Decimal(10)})
    allowance.use({"tokens": Decimal(15)})
    assert allowance.left("tokens") == 0
