"""When a version may be unloaded: what is known of its sessions, and what is only thought."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bulkhead_api.runtime_config import PackageRoute, RuntimeConfig, VersionRoute
from bulkhead_api.runtime_state import LoadedVersion, RuntimeState
from bulkhead_operator.packages.rollout import VersionId
from bulkhead_operator.reconcile.draining import is_drained
from bulkhead_operator.reconcile.memory import Memory, Replica
from tests.support.blueprints import blueprint

SECOND = VersionId("2.0.0", "sha256:2")
FILE = "package_support_2.0.0.json"

Weights = dict[str, int]


def configuration(weights: Weights) -> RuntimeConfig:
    """Return a configuration with shares of `support`."""
    versions = tuple(
        VersionRoute(version=number, checksum=f"sha256:{number[0]}", weight=weight)
        for number, weight in weights.items()
    )
    routes = (PackageRoute(package="support", versions=versions),)
    return blueprint().configuration.model_copy(update={"routes": routes}).with_hash()


def reported(followed: Weights, sessions: int = 0) -> RuntimeState:
    """Return what a replica says that follows a configuration; the sessions are of 2.0.0."""
    return RuntimeState(
        organization="acme",
        runtime_id="rt",
        runtime_version="1.0.0",
        configuration_hash=configuration(followed).hash,
        versions=tuple(
            LoadedVersion(
                package="support",
                version=number,
                checksum=f"sha256:{number[0]}",
                weight=weight,
                sessions=sessions if number == SECOND.version else 0,
            )
            for number, weight in followed.items()
        ),
    )


def remembered(written: Weights | None, *states: RuntimeState | None) -> Memory:
    """Return what an operator remembers that wrote a configuration last and asked replicas."""
    memory = Memory()
    if written is not None:
        memory.blueprint = replace(blueprint(), configuration=configuration(written))
    memory.following.replicas = {
        str(index): Replica(str(index), "127.0.0.1", state) for index, state in enumerate(states)
    }
    hashes = {state.configuration_hash for state in states if state is not None}
    if len(hashes) == 1:
        (memory.following.followed,) = hashes
    return memory


BEFORE, GIVEN = {"1.0.0": 100}, {"1.0.0": 0, "2.0.0": 100}
HELD = {"2.0.0": 0, "3.0.0": 100}


@pytest.mark.parametrize(
    ("written", "states"),
    [
        pytest.param(GIVEN, [reported(BEFORE)], id="a runtime has not said that it follows them"),
        pytest.param(HELD, [reported(BEFORE)], id="a runtime was given two in a row"),
        pytest.param(HELD, [reported(GIVEN)], id="it got sessions when they were counted"),
        pytest.param(GIVEN, [reported(GIVEN)], id="it gets sessions"),
        pytest.param(HELD, [reported(HELD, 1)], id="one is left"),
        pytest.param(HELD, [reported(HELD), reported(HELD, 1)], id="one is left in one replica"),
        pytest.param(HELD, [reported(HELD), None], id="a replica does not answer"),
        pytest.param(HELD, [], id="there is no replica"),
        pytest.param(None, [], id="the operator has just begun"),
    ],
)
def test_a_version_is_kept_for_its_sessions_while(
    written: Weights | None, states: Sequence[RuntimeState | None]
) -> None:
    assert not is_drained(remembered(written, *states), "support", SECOND)


@pytest.mark.parametrize(
    ("written", "states"),
    [
        pytest.param(HELD, [reported(HELD)], id="no session of it is left"),
        pytest.param(HELD, [reported(HELD), reported(HELD)], id="none is left in any replica"),
        pytest.param(BEFORE, [reported(BEFORE)], id="it is not loaded"),
    ],
)
def test_a_version_may_go_once(written: Weights, states: Sequence[RuntimeState]) -> None:
    assert is_drained(remembered(written, *states), "support", SECOND)


def test_a_version_that_the_runtime_refused_for_good_may_go_whatever_was_written() -> None:
    memory = remembered(GIVEN, reported(BEFORE))
    memory.following.refused[FILE] = (SECOND.checksum, "broken")
    assert is_drained(memory, "support", SECOND)


def test_a_version_is_kept_when_other_content_of_its_number_was_refused() -> None:
    memory = remembered(GIVEN, reported(BEFORE))
    memory.following.refused[FILE] = ("sha256:other", "broken")
    assert not is_drained(memory, "support", SECOND)
