"""What a runtime says of its parts."""

from pathlib import Path

from bulkhead_api.runtime_config import ProviderConfig
from tests.support.runtime.in_process import running


async def test_missing_credentials_are_told_by_name_and_fail_no_probe(tmp_path: Path) -> None:
    keyed = ProviderConfig(
        name="acme-llm",
        base_url="http://127.0.0.1:9/v1",
        type="OpenAICompatible",
        has_credentials=True,
    )
    async with running(tmp_path, providers=(keyed,)) as runtime:
        readiness = await runtime.readiness()
        state = await runtime.state()
    told = {dependency.name: dependency for dependency in readiness.dependencies}
    assert readiness.ready
    assert not told["model_credentials"].ok
    assert told["model_credentials"].message == "missing for acme-llm"
    assert state.missing_credentials == ("acme-llm",)


async def test_the_embedded_store_is_required_and_has_no_cache_in_front(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        readiness = await runtime.readiness()
    told = {dependency.name: dependency for dependency in readiness.dependencies}
    assert (told["store"].ok, told["store"].required) == (True, True)
    assert "redis" not in told
