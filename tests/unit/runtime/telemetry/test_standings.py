"""What metrics say of a runtime as it stands, however much there is of it."""

from pathlib import Path

from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.standings import MAX_KEYS
from bulkhead_runtime.store.records import StoredKey
from bulkhead_runtime.telemetry.instruments import Labels, Value
from tests.support.runtime.in_process import running, say
from tests.support.runtime_process import agent, document


async def _series(runtime: Runtime, metric: str) -> dict[Labels, Value]:
    (reading,) = (one for one in await runtime.read_metrics() if one.about.name == metric)
    return dict(reading.series)


async def test_of_many_keys_those_are_shown_that_expire_first(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        for number in range(MAX_KEYS + 10):
            expires_at = 1_000 * (MAX_KEYS + 10 - number)
            key = StoredKey(f"key-{number}", f"{number:064x}", "me", (), 0, expires_at)
            await runtime.store.put_key(key)
        await runtime.store.put_key(StoredKey("for-ever", "f" * 64, "me", (), 0, None))
        shown = await _series(runtime, "bulkhead_api_key_expires_timestamp_seconds")

    assert len(shown) == MAX_KEYS
    assert shown[f"key-{MAX_KEYS + 9}",] == 1
    assert ("key-0",) not in shown
    assert ("for-ever",) not in shown


async def test_versions_and_agents_are_those_that_are_loaded(tmp_path: Path) -> None:
    served = document("1.0.0", agent(), agent("other"))
    async with running(tmp_path, served) as runtime:
        assert await _series(runtime, "bulkhead_agents") == {(): 2}
        weights = await _series(runtime, "bulkhead_package_version_weight")
        await say(runtime, "hello")
        sessions = await _series(runtime, "bulkhead_sessions")

    assert weights == {("helper", "1.0.0"): 100}
    assert sessions == {(): 1}
