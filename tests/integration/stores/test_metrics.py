"""Metrics of replicas that share a store: each tells of itself, the history of all of them."""

import asyncio
from pathlib import Path
from typing import Any

from bulkhead_api import names
from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.telemetry.history import points
from bulkhead_runtime.telemetry.instruments import Value
from tests.support.deadline import until
from tests.support.postgres import Postgres
from tests.support.runtime.in_process import Shared, running, say
from tests.support.shared_homes import SharedHome
from tests.support.tcp_proxy import TcpProxy

ANY_TIME = 2**40
PATIENCE_SECONDS = 15
"""Less than what the store's own questions may take."""


async def _shared(home: SharedHome) -> Shared:
    name = home.name("acme")
    return Shared(name, await home.mounted(name), redis=False)


async def _value(runtime: Runtime, metric: str, *labels: str) -> Value | None:
    (reading,) = (one for one in await runtime.read_metrics() if one.about.name == metric)
    return reading.series.get(labels)


async def _until_shown(runtime: Runtime, wanted: dict[tuple[str, ...], Value]) -> None:
    """Wait until a replica shows what others did, at which it looks once a second."""

    async def shown() -> bool:
        return {series: await _value(runtime, *series) for series in wanted} == wanted

    await until(shown, f"{wanted} is shown")


async def _recorded(runtime: Runtime, metric: str) -> list[float]:
    rows = await runtime.store.figures(900, since=0, until=ANY_TIME)
    told = points([(row.at, row.figures) for row in rows], runtime.metrics.about(metric))
    return [point["value"] for point in told]


async def test_the_history_adds_up_what_replicas_did_and_counts_sessions_once(
    tmp_path: Path, home: SharedHome
) -> None:
    shared = await _shared(home)
    fields: dict[str, Any] = {"shared": shared, "replicas": 2}
    async with running(tmp_path, **fields) as one, running(tmp_path, **fields) as other:
        for runtime in (one, one, other):
            await say(runtime, "hello")
        assert await _value(one, "bulkhead_turns_total", "assistant") == 2
        assert await _value(other, "bulkhead_turns_total", "assistant") == 1
        await _until_shown(other, {("bulkhead_sessions",): 3})
    async with running(tmp_path, **fields) as third:
        assert sum(await _recorded(third, "bulkhead_turns_total")) == 3
        assert max(await _recorded(third, "bulkhead_sessions")) == 3


async def test_budgets_stand_where_another_replica_left_them(
    tmp_path: Path, home: SharedHome
) -> None:
    shared = await _shared(home)
    budgets = Budgets(total=Allowance(turns=10))
    fields: dict[str, Any] = {"shared": shared, "replicas": 2, "budgets": budgets}
    async with running(tmp_path, **fields) as one, running(tmp_path, **fields) as other:
        await say(one, "hello")
        await _until_shown(
            other,
            {
                ("bulkhead_budget_limit", "total", "turns"): 10,
                ("bulkhead_budget_used", "total", "turns"): 1,
                ("bulkhead_budget_reserved", "total", "turns"): 0,
            },
        )


async def test_a_store_that_is_silent_keeps_nobody_from_the_other_metrics(
    tmp_path: Path, home: SharedHome, postgres: Postgres
) -> None:
    shared = await _shared(home)
    async with TcpProxy(postgres.server.port).serving() as wire:
        dsn = shared.mounted / names.POSTGRES_DSN_FILE
        dsn.write_text(dsn.read_text().replace(f":{postgres.server.port}/", f":{wire.port}/"))
        async with running(tmp_path, shared=shared) as runtime:
            await say(runtime, "hello")
            wire.silence()
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert await _value(runtime, "bulkhead_turns_total", "assistant") == 1
            wire.resume()
