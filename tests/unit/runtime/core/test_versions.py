from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead_runtime.config.snapshot import Configuration, Version
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.routing.versions import VersionRouter
from tests.support.runtime_process import agent, configuration, document


def _configuration(*weights: int) -> Configuration:
    weighted = tuple(
        (document(f"{number}.0.0"), weight) for number, weight in enumerate(weights, start=1)
    )
    versions = {(item.package, item.version): Version.of(item, weight) for item, weight in weighted}
    return Configuration(configuration(*weighted), versions)


@given(st.integers(min_value=0, max_value=100), st.integers(min_value=0, max_value=50))
def test_any_hundred_new_sessions_in_a_row_are_split_exactly_by_weight(
    weight: int, before: int
) -> None:
    router, followed = VersionRouter(), _configuration(weight, 100 - weight)
    for _ in range(before):
        router.for_new_session(followed, "assistant")

    chosen = Counter(router.for_new_session(followed, "assistant")[0].version for _ in range(100))

    assert (chosen["1.0.0"], chosen["2.0.0"]) == (weight, 100 - weight)


def test_a_canary_of_one_percent_is_never_next_to_another() -> None:
    router, followed = VersionRouter(), _configuration(99, 1)
    chosen = [router.for_new_session(followed, "assistant")[0].version for _ in range(300)]
    positions = [index for index, version in enumerate(chosen) if version == "2.0.0"]
    assert [later - earlier for earlier, later in pairwise(positions)] == [
        100,
        100,
    ]


@pytest.mark.parametrize("weight", [5, 25, 50])
@pytest.mark.parametrize("replicas", [1, 3])
def test_a_canary_gets_its_share_of_ten_thousand_sessions_to_one_percent(
    weight: int, replicas: int
) -> None:
    followed = _configuration(100 - weight, weight)
    routers = [VersionRouter() for _ in range(replicas)]
    chance = Random(weight)
    chosen = Counter(
        chance.choice(routers).for_new_session(followed, "assistant")[0].version
        for _ in range(10_000)
    )
    assert abs(chosen["2.0.0"] - weight * 100) <= 100


def test_agents_whose_sessions_alternate_get_their_shares_each() -> None:
    documents = [(document(v, agent(), agent("writer")), 50) for v in ("1.0.0", "2.0.0")]
    versions = {("helper", item.version): Version.of(item, weight) for item, weight in documents}
    router, followed = VersionRouter(), Configuration(configuration(*documents), versions)
    chosen = Counter(
        (name, router.for_new_session(followed, name)[0].version)
        for _ in range(100)
        for name in ("assistant", "writer")
    )
    assert set(chosen.values()) == {50}


def test_a_share_that_changes_is_exact_from_there_on() -> None:
    router = VersionRouter()
    for weight in (5, 25, 50, 0):
        followed = _configuration(100 - weight, weight)
        chosen = Counter(
            router.for_new_session(followed, "assistant")[0].version for _ in range(200)
        )
        assert abs(chosen["2.0.0"] - 2 * weight) <= 1


def test_a_session_stays_with_the_version_that_it_began_with() -> None:
    version, _ = VersionRouter().for_session(_configuration(0, 100), "assistant", "helper", "1.0.0")
    assert version.version == "1.0.0"


def test_a_session_whose_version_is_gone_continues_on_the_current_one() -> None:
    version, _ = VersionRouter().for_session(_configuration(0, 100), "assistant", "helper", "0.9.0")
    assert version.version == "2.0.0"


def test_an_agent_that_no_version_defines_is_unknown() -> None:
    with pytest.raises(Problem, match="no agent 'ghost'") as refused:
        VersionRouter().for_new_session(_configuration(100), "ghost")
    assert refused.value.status == 404


def test_an_agent_of_one_version_only_goes_to_that_version() -> None:
    plain, extended = document("1.0.0"), document("2.0.0", agent(), agent("writer"))
    versions = {
        ("helper", "1.0.0"): Version.of(plain, 99),
        ("helper", "2.0.0"): Version.of(extended, 1),
    }
    followed = Configuration(configuration((plain, 99), (extended, 1)), versions)
    assert VersionRouter().for_new_session(followed, "writer")[0].version == "2.0.0"
