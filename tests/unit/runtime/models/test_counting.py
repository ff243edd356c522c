import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead_api.runtime_config import ModelsConfig, ProviderConfig
from bulkhead_api.v1alpha1.models import ModelPrice
from bulkhead_runtime.models.counting import (
    FRAME_TOKENS,
    IMAGE_TOKENS,
    MAX_MODELS,
    TokenMeasure,
    input_bound,
)
from bulkhead_runtime.models.port import ByteRequest, ModelMessage, ToolCall
from bulkhead_runtime.models.router import ModelRouter
from tests.unit.runtime.models.conftest import CALCULATE, request

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}


def byte_request(content: Any, **body: Any) -> ByteRequest:
    messages = [{"role": "user", "content": content}]
    return ByteRequest(
        model="up/m",
        body={"messages": messages, **body},
        answer_id="a",
        include_usage=False,
        max_output_tokens=10,
        deadline=time.monotonic() + 1,
    )


@given(st.lists(st.text(max_size=50), min_size=1, max_size=5))
def test_no_bound_is_below_the_bytes_of_the_texts(texts: list[str]) -> None:
    messages = tuple(ModelMessage("user", text) for text in texts)
    size = sum(len(text.encode(errors="replace")) for text in texts)
    assert input_bound(request("up/m", messages=messages)) == size + FRAME_TOKENS * len(texts)


def test_calls_and_tools_count_too() -> None:
    call = ToolCall("call_1", "calculate", '{"expression":"1+1"}')
    plain = request("up/m", messages=(ModelMessage("assistant", ""),))
    calling = request("up/m", messages=(ModelMessage("assistant", "", (call,)),))
    offered = request("up/m", messages=(ModelMessage("assistant", ""),), tools=(CALCULATE,))
    assert input_bound(calling) - input_bound(plain) == len(call.name) + len(call.arguments)
    assert input_bound(offered) - input_bound(plain) > len("calculateCalculates.")


@pytest.mark.parametrize(
    "part", [IMAGE, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
)
def test_an_image_is_as_dear_as_the_dearest_there_is(part: dict[str, Any]) -> None:
    message = ModelMessage("user", "look", raw_content=({"type": "text", "text": "look"}, part))
    assert input_bound(request("up/m", messages=(message,))) > IMAGE_TOKENS
    assert input_bound(byte_request([part])) > IMAGE_TOKENS


def test_bytes_that_are_handed_on_are_bounded_by_themselves() -> None:
    bound = input_bound(byte_request("Grüße", response_format={"type": "json_object"}))
    assert bound > len("Grüße".encode()) + len("response_format")
    assert bound < 200


def router_of(directory: Path, *prices: ModelPrice) -> ModelRouter:
    provider = ProviderConfig(name="up", type="OpenAICompatible", base_url="http://x/v1")
    openai = ProviderConfig(
        name="gpt", type="OpenAICompatible", base_url="https://api.openai.com/v1"
    )
    router = ModelRouter(directory)
    router.configure(ModelsConfig(default="up/m", providers=(provider, openai), prices=prices))
    return router


def test_the_worst_case_of_a_call_is_input_and_output_at_their_prices(tmp_path: Path) -> None:
    price = ModelPrice(model="up/m", input_per_million="1", output_per_million="10")
    bound = router_of(tmp_path, price).bounds(request("up/m", text="x" * 92))
    assert (bound.input_tokens, bound.output_tokens) == (100, 64)
    assert bound.cost == Decimal("0.00074")


def test_a_price_that_nobody_told_is_unknown_and_not_zero(tmp_path: Path) -> None:
    assert router_of(tmp_path).bounds(request("up/m")).cost is None


def test_a_call_takes_no_more_than_the_model_holds_and_makes(tmp_path: Path) -> None:
    price = ModelPrice(
        model="up/m",
        input_per_million="1",
        output_per_million="1",
        context_window=1000,
        max_output=32,
    )
    bound = router_of(tmp_path, price).bounds(request("up/m", text="x" * 5000))
    assert (bound.input_tokens, bound.output_tokens) == (1000, 32)


@pytest.mark.parametrize(
    ("model", "window"), [("up/m", 100_000), ("gpt/gpt-4o", 128_000), ("offline/echo", 100_000)]
)
def test_the_context_window_is_what_is_known_else_a_hundred_thousand(
    tmp_path: Path, model: str, window: int
) -> None:
    assert router_of(tmp_path).context_window(model) == window


@given(st.integers(60, 900), st.integers(1, 30))
def test_the_measure_comes_to_what_the_provider_counts(tokens: int, calls: int) -> None:
    measure = TokenMeasure()
    asked = request("up/m", text="x" * 1000)
    for _ in range(calls):
        measure.observe(asked, tokens)
    assert sum(measure.count("up/m", asked.messages)) == pytest.approx(tokens, abs=2)


def test_a_model_that_was_never_heard_is_counted_by_the_bytes() -> None:
    measure = TokenMeasure()
    short, long = measure.count("up/m", (ModelMessage("user", ""), ModelMessage("user", "x" * 100)))
    assert (short, long) == (4, 34)


def test_the_measure_keeps_a_bounded_number_of_models() -> None:
    measure = TokenMeasure()
    for number in range(MAX_MODELS + 10):
        measure.observe(request(f"up/{number}", text="x" * 100), 104)
    (oldest,) = measure.count("up/0", (ModelMessage("user", "x" * 100),))
    (newest,) = measure.count(f"up/{MAX_MODELS + 9}", (ModelMessage("user", "x" * 100),))
    assert (oldest, newest) == (34, 104)
