"""The loop of model and tools: what a model may ask for at once."""

from pathlib import Path

import pytest

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.loop import MAX_CALLS_PER_ROUND
from tests.support.runtime.in_process import running, say, stubbed
from tests.support.runtime_process import agent, document
from tests.support.stub_provider import StubProvider


@pytest.mark.parametrize("more", [0, 1])
async def test_as_many_calls_as_a_round_may_have_are_made_and_not_one_more(
    tmp_path: Path, provider: StubProvider, more: int
) -> None:
    provider.forget()
    wild = document("1.0.0", agent(tools=("calculate",)))
    fields = stubbed(provider, f"tools;calls={MAX_CALLS_PER_ROUND + more}")
    async with running(tmp_path, wild, **fields) as runtime:
        if more:
            with pytest.raises(Problem, match="33 tool calls at once"):
                await say(runtime, "what is 6 * 7?")
        else:
            await say(runtime, "what is 6 * 7?")
    results = [
        message["content"]
        for message in provider.requests[-1].body["messages"]
        if message["role"] == "tool"
    ]
    assert len(results) == (0 if more else MAX_CALLS_PER_ROUND)
    assert all('"result":"42"' in result for result in results)
