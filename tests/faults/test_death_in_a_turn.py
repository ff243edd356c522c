"""The runtime is killed at every await of a turn; what was acknowledged is there once."""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bulkhead_api.v1alpha1.budgets import Allowance, Budgets
from bulkhead_runtime.store.spending import Account
from tests.support.deadline import until
from tests.support.fault_table import FaultTable
from tests.support.postgres import Postgres
from tests.support.runtime.forking import Forks
from tests.support.runtime.places import Place, answered, embedded, stubbed
from tests.support.runtime_events import events
from tests.support.runtime_process import agent, client, document
from tests.support.stub_provider import StubProvider

ONE_POINT = 9
"""A step in the middle of a turn, for runs that visit only one."""

MOST_POINTS = 500
LIMIT = Decimal(1)
COSTS = (Decimal(0), Decimal("0.000025"), Decimal("0.000042"))
"""Of the first so many calls of a turn: one that wants a tool, and one that tells its result."""

WAYS = {
    "answered": "/v1/agents/assistant/execute",
    "streamed": "/v1/agents/assistant/execute/stream",
}
LEASE_SECONDS = 90
"""Within which what a dead process held is given back; the lease itself is 30 seconds."""

ROLES = ["user", "assistant", "tool", "assistant"]
"""Of the messages of a whole turn."""


@dataclass(frozen=True)
class Death:
    """A turn whose process died at a point, or did not get that far."""

    way: str
    point: int
    session_id: str
    acknowledged: bool
    asked: int

    @property
    def request(self) -> tuple[str, dict[str, str], dict[str, str]]:
        """The path, body and headers of the turn, the same however often it is sent."""
        body = {"message": "the second", "session_id": self.session_id}
        return WAYS[self.way], body, {"Idempotency-Key": f"{self.way}-{self.point}"}


@dataclass(frozen=True)
class _Scene:
    place: Place
    provider: StubProvider
    forks: Forks


async def test_a_turn_on_the_embedded_store_is_there_once_wherever_the_process_dies(
    tmp_path: Path, provider: StubProvider, forks: Forks, faults: FaultTable
) -> None:
    place = embedded(tmp_path)
    _configure(place, provider)
    deaths = await _deaths(_Scene(place, provider, forks), every_fault=faults.every)
    lost, doubled = await _after_the_restart(place, provider, deaths)
    faults.add("kill -9 in a turn, embedded store", len(deaths), lost=lost, doubled=doubled)


async def test_a_turn_on_shared_stores_is_there_once_wherever_the_process_dies(
    shared_place: Place,
    postgres: Postgres,
    provider: StubProvider,
    forks: Forks,
    faults: FaultTable,
) -> None:
    place = shared_place
    _configure(place, provider)
    deaths = await _deaths(_Scene(place, provider, forks), every_fault=faults.every)
    await until(partial(_leases_are_over, postgres), "all leases are over", LEASE_SECONDS)
    lost, doubled = await _after_the_restart(place, provider, deaths)
    faults.add("kill -9 in a turn, PostgreSQL + Redis", len(deaths), lost=lost, doubled=doubled)


async def _leases_are_over(postgres: Postgres) -> bool:
    ((held,),) = postgres.administer(
        "SELECT count(*) FROM bulkhead.reservations WHERE lease_until > bulkhead.now_ms()"
    )
    return held == 0


def _configure(place: Place, provider: StubProvider) -> None:
    bounds = Allowance(cost=str(LIMIT))
    place.follow(
        document("1.0.0", agent(tools=("calculate",))),
        default_model="stub/tools",
        budgets=Budgets(session=bounds, total=bounds),
        **stubbed(provider, ("tools",)),
    )


async def _deaths(scene: _Scene, *, every_fault: bool) -> list[Death]:
    """Let a process die at every step of every way's turn, and once after its last."""
    found = []
    for way in WAYS:
        for point in range(1, MOST_POINTS) if every_fault else (ONE_POINT, MOST_POINTS):
            found.append(await _death(scene, way, point))
            if found[-1].acknowledged:
                break
        else:
            pytest.fail("no point lies beyond the turn: raise MOST_POINTS")
    return found


async def _death(scene: _Scene, way: str, point: int) -> Death:
    place, provider = scene.place, scene.provider
    armed = place.files.directory / "armed"
    armed.unlink(missing_ok=True)
    environment = {
        "BULKHEAD_TEST_DIE_AT": str(point),
        "BULKHEAD_TEST_DIRECTORY": str(place.files.directory),
    }
    with place.process(
        module="tests.support.runtime.dying_runtime",
        environment=environment,
        start=scene.forks.start,
    ) as runtime:
        async with client(runtime) as http:
            first = await answered(http, WAYS["answered"], {"message": "the first"})
            provider.forget()
            runtime.process.send_signal(signal.SIGUSR1)
            await until(partial(asyncio.to_thread, armed.exists), "the process is armed")
            death = Death(way, point, first["session_id"], acknowledged=False, asked=0)
            acknowledged = await _acknowledged(http, death)
    return replace(death, acknowledged=acknowledged, asked=len(provider.requests))


async def _acknowledged(http: aiohttp.ClientSession, death: Death) -> bool:
    """Send the turn; tell whether its end arrived."""
    path, body, headers = death.request
    try:
        async with http.post(path, json=body, headers=headers) as response:
            if death.way == "answered":
                answer = await response.json(content_type=None)
                assert response.status == 200, answer
                return True
            return (await events(response))[-1][0] == "done"
    except aiohttp.ClientError:
        return False


async def _after_the_restart(
    place: Place, provider: StubProvider, deaths: Iterable[Death]
) -> tuple[int, int]:
    """Assert that nothing is half there and all goes on; return the lost and the doubled turns."""
    lost = doubled = 0
    with place.process() as runtime:
        async with client(runtime) as http:
            await until(partial(_nothing_is_reserved, place), "reservations are given back")
            for death in deaths:
                await _assert_spent(place, death)
                before = _said(await _history(http, death.session_id))
                lost += death.acknowledged and not before["the second"]
                await _assert_repeatable(http, provider, death, there=before["the second"] > 0)
                await answered(
                    http,
                    WAYS["answered"],
                    {"message": "the third", "session_id": death.session_id},
                )
                after = _said(await _history(http, death.session_id))
                doubled += any(count > 1 for count in after.values())
                assert set(after) == {"the first", "the second", "the third"}
    await _assert_bounded(place)
    return lost, doubled


async def _nothing_is_reserved(place: Place) -> bool:
    (balance,) = await place.balances(Account("total", "", {}))
    return not any(balance.reserved.values())


async def _assert_spent(place: Place, death: Death) -> None:
    """Assert that at least what the provider was asked counts, and within the limit."""
    (balance,) = await place.balances(Account("session", death.session_id, {}))
    assert not any(balance.reserved.values()), death
    assert COSTS[2] + COSTS[death.asked] <= balance.used["cost"] <= LIMIT, death


async def _assert_repeatable(
    http: aiohttp.ClientSession, provider: StubProvider, death: Death, *, there: bool
) -> None:
    """Assert that the key repeats what is stored, or carries out what is not, never both."""
    path, body, headers = death.request
    provider.forget()
    async with http.post(path, json=body, headers=headers) as response:
        assert response.status == 200, (death, await response.text())
        await response.read()
        repeated = response.headers.get("Idempotency-Replayed") == "true"
    assert (repeated, len(provider.requests)) == ((True, 0) if there else (False, 2)), death


async def _history(http: aiohttp.ClientSession, session_id: str) -> list[dict[str, Any]]:
    async with http.get(f"/v1/sessions/{session_id}/messages?limit=200") as response:
        page = await response.json()
        assert response.status == 200, page
        found: list[dict[str, Any]] = page["data"]
        return found


def _said(history: list[dict[str, Any]]) -> Counter[str]:
    """Return what users said, having asserted that every turn is whole."""
    turns: dict[int, list[str]] = {}
    for item in history:
        turns.setdefault(item["turn"], []).append(item["role"])
    assert all(roles == ROLES for roles in turns.values()), turns
    return Counter(item["content"] for item in history if item["role"] == "user")


async def _assert_bounded(place: Place) -> None:
    (total,) = await place.balances(Account("total", "", {}))
    assert not any(total.reserved.values())
    assert Decimal(0) < total.used["cost"] <= LIMIT
