"""What metrics say of a runtime as it stands, however much there is of it."""

import time
from pathlib import Path
from typing import Any

from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.standings import MAX_KEYS
from bulkhead_runtime.store.records import StoredKey
from bulkhead_runtime.store.sqlite import SqliteStore
from bulkhead_runtime.telemetry.instruments import Labels, Value
from tests.support.deadline import until
from tests.support.runtime.in_process import data_of, running, say
from tests.support.runtime_process import Mount, agent, configuration, document


async def _series(runtime: Runtime, metric: str) -> dict[Labels, Value]:
    (reading,) = (one for one in await runtime.read_metrics() if one.about.name == metric)
    return dict(reading.series)


async def _configured(runtime: Runtime, **sections: Any) -> None:
    """Let a runtime that serves the document follow another configuration."""
    config = configuration((document(), 100), organization="acme", **sections).with_hash()
    Mount(runtime.settings.config_directory).configure(config, document())

    async def followed() -> bool:
        return runtime.holder.require().hash == config.hash

    await until(followed, "the configuration is followed")


async def test_of_many_keys_those_are_shown_that_expire_first(tmp_path: Path) -> None:
    soon = (int(time.time()) + 60) * 1_000
    store = SqliteStore(data_of(tmp_path))
    await store.put_key(StoredKey("long-gone", "e" * 64, "me", (), 0, 1_000))
    for number in range(MAX_KEYS + 10):
        expires_at = soon + 1_000 * (MAX_KEYS + 10 - number)
        key = StoredKey(f"key-{number}", f"{number:064x}", "me", (), 0, expires_at)
        await store.put_key(key)
    await store.put_key(StoredKey("for-ever", "f" * 64, "me", (), 0, None))
    await store.close()
    async with running(tmp_path) as runtime:
        shown = await _series(runtime, "bulkhead_api_key_expires_timestamp_seconds")

    assert len(shown) == MAX_KEYS
    assert shown[f"key-{MAX_KEYS + 9}",] == soon / 1_000 + 1
    assert ("long-gone",) not in shown
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


async def test_a_budget_that_was_taken_away_is_not_shown_any_more(tmp_path: Path) -> None:
    budgets = Budgets(day=Allowance(tokens=1_000, cost="1"))
    async with running(tmp_path, budgets=budgets) as runtime:
        before = await _series(runtime, "bulkhead_budget_limit")
        await _configured(runtime, budgets=Budgets(day=Allowance(tokens=1_000)))
        after = await _series(runtime, "bulkhead_budget_limit")

    assert set(before) == {("day", "tokens"), ("day", "cost")}
    assert set(after) == {("day", "tokens")}
