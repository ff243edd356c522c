import asyncio
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead_api.runtime_config import ModelsConfig
from bulkhead_api.v1alpha1.models import CircuitBreaker
from bulkhead_runtime.models.circuit import Circuit, CircuitState, Permit
from bulkhead_runtime.models.errors import ModelError
from tests.support.deadline import until
from tests.support.stub_provider import StubProvider
from tests.unit.runtime.models.routers import hear, provider, router_of

OPEN_SECONDS = 30.0


class Told(list[CircuitState]):
    """Keeps the states that a circuit tells."""


def circuit_of(failures: int = 3) -> tuple[Circuit, Told]:
    told = Told()
    return Circuit(failures, OPEN_SECONDS, told.append), told


def admitted(circuit: Circuit, now: float) -> Permit:
    permit = circuit.admit(now)
    assert permit is not None
    return permit


def opened(retry_after: float | None = None) -> tuple[Circuit, Told]:
    circuit, told = circuit_of(failures=1)
    circuit.failed(admitted(circuit, 0), 0, retry_after)
    return circuit, told


def test_failures_in_a_row_open_it() -> None:
    circuit, told = circuit_of(failures=3)
    for _ in range(2):
        circuit.failed(admitted(circuit, 0), 0, None)
    assert circuit.wait(0) == 0
    circuit.failed(admitted(circuit, 0), 0, None)
    assert circuit.admit(0) is None
    assert circuit.wait(10) == OPEN_SECONDS - 10
    assert told == ["open"]


def test_a_success_between_failures_keeps_it_closed() -> None:
    circuit, _ = circuit_of(failures=2)
    for _ in range(10):
        circuit.failed(admitted(circuit, 0), 0, None)
        circuit.succeeded(admitted(circuit, 0))
    assert circuit.admit(0) is not None


def test_it_stays_open_for_as_long_as_the_provider_asks() -> None:
    circuit, _ = opened(retry_after=100)
    assert circuit.admit(99) is None
    assert circuit.admit(100) is not None


def test_one_call_at_a_time_probes_and_its_success_closes() -> None:
    circuit, told = opened()
    probe = admitted(circuit, OPEN_SECONDS)
    assert circuit.admit(OPEN_SECONDS) is None
    circuit.succeeded(probe)
    assert circuit.admit(OPEN_SECONDS) is not None
    assert told == ["open", "half_open", "closed"]


def test_a_probe_that_fails_opens_it_anew() -> None:
    circuit, told = opened()
    circuit.failed(admitted(circuit, OPEN_SECONDS), OPEN_SECONDS, None)
    assert circuit.wait(OPEN_SECONDS) == OPEN_SECONDS
    assert told == ["open", "half_open", "open"]


def test_a_probe_that_is_given_up_lets_the_next_one_probe() -> None:
    circuit, _ = opened()
    circuit.abandoned(admitted(circuit, OPEN_SECONDS))
    assert circuit.admit(OPEN_SECONDS) is not None


def test_a_call_that_began_before_it_opened_neither_closes_nor_prolongs_it() -> None:
    circuit, _ = circuit_of(failures=1)
    early, late = admitted(circuit, 0), admitted(circuit, 0)
    circuit.failed(admitted(circuit, 0), 0, None)
    circuit.succeeded(early)
    circuit.failed(late, 20, None)
    assert circuit.wait(20) == OPEN_SECONDS - 20


REPORTS = st.sampled_from(["succeeded", "failed", "abandoned", "admit", "wait"])


@given(st.lists(st.tuples(REPORTS, st.integers(0, 9)), max_size=60))
def test_whatever_happens_it_lets_calls_through_again_when_nothing_is_under_way(
    steps: list[tuple[str, int]],
) -> None:
    circuit, _ = circuit_of(failures=2)
    now, under_way = 0.0, list[Permit]()
    for step, number in steps:
        if step == "wait":
            now += 10 * number
        elif step == "admit":
            permit = circuit.admit(now)
            if permit is not None:
                under_way.append(permit)
        elif under_way:
            permit = under_way.pop(number % len(under_way))
            if step == "failed":
                circuit.failed(permit, now, None)
            else:
                getattr(circuit, step)(permit)
        assert sum(permit.probe for permit in under_way) <= 1
    for permit in under_way:
        circuit.abandoned(permit)
    assert circuit.admit(now + OPEN_SECONDS) is not None


async def test_a_provider_that_keeps_failing_is_not_asked_and_the_next_model_is(
    tmp_path: Path, stub: StubProvider
) -> None:
    changes: list[tuple[str, CircuitState]] = []
    up = provider("up", stub.base_url, max_retries=0, circuit_breaker=CircuitBreaker(failures=2))
    async with router_of(
        tmp_path,
        up,
        provider("other", stub.base_url),
        on_circuit=lambda *change: changes.append(change),
    ) as router:
        for _ in range(2):
            with pytest.raises(ModelError):
                await hear(router, "up/error")
        with pytest.raises(ModelError, match="circuitBreaker") as refused:
            await hear(router, "up/words")
        heard = await hear(router, "up/words", "other/words")
    assert len(stub.requests) == 3
    assert heard.model == "other/words"
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 30
    assert changes == [("up", "open")]


async def test_a_provider_that_recovers_is_asked_again(tmp_path: Path, stub: StubProvider) -> None:
    breaker = CircuitBreaker(failures=1, open_seconds=1)
    up = provider("up", stub.base_url, max_retries=0, circuit_breaker=breaker)
    async with router_of(tmp_path, up) as router:
        with pytest.raises(ModelError):
            await hear(router, "up/error")

        async def answers() -> bool:
            try:
                await hear(router, "up/words")
            except ModelError:
                return False
            return True

        await until(answers, "the provider is asked again")
        await asyncio.gather(*(hear(router, "up/words") for _ in range(10)))


async def test_the_call_that_probes_is_tried_again_as_others_are(
    tmp_path: Path, stub: StubProvider
) -> None:
    breaker = CircuitBreaker(failures=1, open_seconds=1)
    up = provider("up", stub.base_url, max_retries=1, circuit_breaker=breaker)
    async with router_of(tmp_path, up) as router:
        with pytest.raises(ModelError):
            await hear(router, "up/silent")
        asked = len(stub.requests)

        async def is_asked() -> bool:
            with contextlib.suppress(ModelError):
                await hear(router, "up/busy-once")
            return len(stub.requests) > asked

        await until(is_asked, "the provider is probed")
        assert len(stub.requests) == asked + 2
        await hear(router, "up/words")


@pytest.mark.parametrize("mode", ["unauthorized", "unknown", "context"])
async def test_a_provider_that_refuses_requests_is_alive(
    tmp_path: Path, stub: StubProvider, mode: str
) -> None:
    up = provider("up", stub.base_url, circuit_breaker=CircuitBreaker(failures=1))
    async with router_of(tmp_path, up) as router:
        with pytest.raises(ModelError):
            await hear(router, f"up/{mode}")
        await hear(router, "up/words")


async def test_a_caller_in_a_hurry_does_not_open_the_circuit(
    tmp_path: Path, stub: StubProvider
) -> None:
    up = provider(
        "up", stub.base_url, timeout_seconds=60, circuit_breaker=CircuitBreaker(failures=1)
    )
    async with router_of(tmp_path, up) as router:
        with pytest.raises(ModelError):
            await hear(router, "up/silent", seconds=0.2)
        await hear(router, "up/words")


async def test_a_provider_whose_configuration_changed_begins_anew(
    tmp_path: Path, stub: StubProvider
) -> None:
    breaker = CircuitBreaker(failures=1)
    up = provider("up", stub.base_url, max_retries=0, circuit_breaker=breaker)
    async with router_of(tmp_path, up) as router:
        with pytest.raises(ModelError):
            await hear(router, "up/error")
        router.configure(ModelsConfig(default="offline/echo", providers=(up,)))
        with pytest.raises(ModelError, match="circuitBreaker"):
            await hear(router, "up/words")
        moved = provider("up", f"{stub.base_url}/", max_retries=0, circuit_breaker=breaker)
        router.configure(ModelsConfig(default="offline/echo", providers=(moved,)))
        await hear(router, "up/words")
