"""Answers that are given again are counted, so that a platform sees whether the cache helps."""

from pathlib import Path

from bulkhead_api.runtime_config import ProviderConfig
from tests.support.runtime_process import RuntimeFiles, RuntimeProcess, agent, client, document
from tests.support.stub_provider import StubProvider

LOOKUPS = "bulkhead_model_cache_lookups_total"


async def test_every_look_into_the_cache_is_a_hit_or_a_miss(
    tmp_path: Path, provider: StubProvider
) -> None:
    files = RuntimeFiles(tmp_path)
    config = ProviderConfig(name="stub", type="OpenAICompatible", base_url=provider.base_url)
    agents = [
        agent("cached", model="stub/words", cacheSeconds=60),
        agent("plain", model="stub/words"),
    ]
    files.follow((document("1.0.0", *agents), 100), providers=(config,))
    with RuntimeProcess(files) as process:
        async with client(process) as http:
            for name in ("cached", "cached", "cached", "plain"):
                path = f"/v1/agents/{name}/execute"
                async with http.post(path, json={"message": "hi"}) as response:
                    assert response.status == 200
            async with http.get("/metrics") as response:
                lines = (await response.text()).splitlines()
    counted = {line for line in lines if line.startswith(f"{LOOKUPS}{{")}
    assert counted == {f'{LOOKUPS}{{result="hit"}} 2.0', f'{LOOKUPS}{{result="miss"}} 1.0'}
