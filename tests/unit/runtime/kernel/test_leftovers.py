"""An execution is freed as it ends: nothing of it waits until cycles are looked for.

What waits is a whole conversation, and a process seldom gives memory back that it once took.
"""

import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulkhead_runtime.kernel.requests import DirectRequest, PassthroughRequest
from bulkhead_runtime.models.port import ModelMessage, ModelRequest, Part
from bulkhead_runtime.runtime import Runtime
from tests.support.runtime.in_process import caller, running, say, stubbed
from tests.support.runtime_process import agent, document
from tests.support.stub_provider import StubProvider

MODEL = "stub/tools"
_MESSAGES = (ModelMessage("user", "6 * 7"),)


@contextmanager
def _left_behind() -> Iterator[set[str]]:
    """Yield the types of our objects that nothing but a collection frees, once the block ends."""
    found: set[str] = set()
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.disable()
    try:
        yield found
        gc.collect()
        found |= {type(one).__name__ for one in gc.garbage if _is_ours(one)}
    finally:
        gc.enable()
        gc.set_debug(0)
        gc.garbage.clear()


def _is_ours(found: object) -> bool:
    return type(found).__module__.startswith("bulkhead_")


async def _call(runtime: Runtime) -> None:
    async def take(_: Part) -> None:
        """Hear it."""

    asked = ModelRequest(MODEL, _MESSAGES, 64, time.monotonic() + 10)
    await runtime.direct.call(DirectRequest(asked, caller()), take)


async def _stream(runtime: Runtime) -> None:
    async def write(_: bytes) -> None:
        """Let it go."""

    body = {"messages": [{"role": "user", "content": "6 * 7"}]}
    request = PassthroughRequest(
        MODEL, body, "chatcmpl-1", False, messages=_MESSAGES, max_output_tokens=64, caller=caller()
    )
    await runtime.direct.pass_through(request, write)


WAYS: dict[str, Callable[[Runtime], Awaitable[object]]] = {
    "a turn with a tool": lambda runtime: say(runtime, "6 * 7"),
    "a call of a model": _call,
    "a stream that is passed through": _stream,
}


@pytest.mark.parametrize("work", WAYS.values(), ids=WAYS.keys())
async def test_the_collector_finds_nothing_of(
    tmp_path: Path, provider: StubProvider, work: Callable[[Runtime], Awaitable[object]]
) -> None:
    tooled = document("1.0.0", agent(tools=("calculate",)))
    async with running(tmp_path, tooled, **stubbed(provider, "tools")) as runtime:
        await work(runtime)  # what is made once stays
        with _left_behind() as left:
            await work(runtime)
    assert left == set()
