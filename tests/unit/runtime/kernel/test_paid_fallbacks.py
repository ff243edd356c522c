"""A model that fell silent may have to be paid, and so may the one that answers in its place."""

from pathlib import Path
from typing import Any

import pytest

from bulkhead_api.runtime_config import ProviderConfig
from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_api.v1alpha1.models import ModelPrice
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.spending import Account, Balance
from tests.support.runtime.in_process import PRICED, running, say
from tests.support.runtime_process import agent, document
from tests.support.stub_provider import StubProvider


async def _total(runtime: Runtime) -> Balance:
    (balance,) = await runtime.store.balances((Account("total", "", {}),))
    return balance


def _falling_back(provider: StubProvider, budgets: Budgets) -> dict[str, Any]:
    """Configuration whose default model falls silent, which may have to be paid."""
    stub = ProviderConfig(
        name="stub", type="OpenAICompatible", base_url=provider.base_url, timeout_seconds=1
    )
    models = ("stub/silent", "stub/words")
    prices = tuple(ModelPrice.model_validate({"model": name, **PRICED}) for name in models)
    return {
        "default_model": models[0],
        "providers": (stub,),
        "prices": prices,
        "budgets": budgets,
    }


RELENTLESS = document("1.0.0", agent(fallbacks=("stub/words",), max_output_tokens=20))


async def test_each_model_that_was_asked_is_counted_once(
    tmp_path: Path, provider: StubProvider
) -> None:
    fields = _falling_back(provider, Budgets(total=Allowance(tokens=10_000)))
    async with running(tmp_path, RELENTLESS, **fields) as runtime:
        result = await say(runtime, "hello")
        page = await runtime.store.ledger(
            since=0, until=2**62, principal=None, limit=10, cursor=None
        )
        balance = await _total(runtime)
    assert sorted(line.model for line in page.items) == ["stub/silent", "stub/words"]
    tokens = sum(line.input_tokens + line.output_tokens for line in page.items)
    told = result.usage.input_tokens + result.usage.output_tokens
    assert balance.used["tokens"] == tokens == told


async def test_a_fallback_needs_room_of_its_own(tmp_path: Path, provider: StubProvider) -> None:
    fields = _falling_back(provider, Budgets(total=Allowance(turns=1)))
    async with running(tmp_path, RELENTLESS, **fields) as runtime:
        with pytest.raises(Problem) as refused:
            await say(runtime, "hello")
        balance = await _total(runtime)
    assert refused.value.code == "budget_exceeded"
    assert balance.used["turns"] == 1
    assert provider.requests[-1].body["model"] == "silent"
