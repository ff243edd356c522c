"""Shares of new sessions, as callers of a running runtime see them."""

import asyncio
from collections import Counter

from tests.support.runtime.rollouts import ask, settled
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, client, document

OLD, NEW = document("1.0.0"), document("2.0.0")
SESSIONS = 200


async def test_callers_at_once_begin_with_versions_exactly_by_weight(files: RuntimeFiles) -> None:
    ask(files, (OLD, 100), (NEW, 0), nonces={})
    shares = {}
    with RuntimeProcess(files) as runtime:
        async with client(runtime) as http:

            async def begun() -> str:
                path = "/v1/agents/assistant/execute"
                async with http.post(path, json={"message": "x"}) as response:
                    assert response.status == 200, await response.text()
                    version: str = (await response.json())["version"]
                    return version

            for weight in (5, 25, 50):
                limits = {"maxQueueSize": SESSIONS}
                weighted = (OLD, 100 - weight), (NEW, weight)
                await settled(runtime, ask(files, *weighted, nonces={}, limits=limits))
                chosen = Counter(await asyncio.gather(*(begun() for _ in range(SESSIONS))))
                shares[weight] = chosen["2.0.0"]
    assert shares == {5: 10, 25: 50, 50: 100}
