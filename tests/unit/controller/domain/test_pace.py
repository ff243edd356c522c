"""How fast a changed operator restarts what runs: never too many, never on after failures."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead_operator.reconcile.pace import (
    Decision,
    LiveTemplate,
    Pace,
    Phase,
    WantedTemplate,
    needs_a_place,
    phase_of,
)

LIVE = LiveTemplate("old", "3", "", rolled_out=True, failed=False, replicas=1)
WANTED = WantedTemplate("new", "3", 1)


@pytest.mark.parametrize(
    ("live", "wanted", "needed"),
    [
        pytest.param(
            LIVE, WANTED, True, id="another template of the same generation: the operator"
        ),
        pytest.param(LIVE, replace(WANTED, generation="4"), False, id="a person changed the spec"),
        pytest.param(LIVE, replace(WANTED, template_hash="old"), False, id="the same template"),
        pytest.param(None, WANTED, False, id="there is nothing to restart"),
        pytest.param(replace(LIVE, template_hash=""), WANTED, False, id="its mark was taken off"),
        pytest.param(replace(LIVE, replicas=0), WANTED, False, id="scaled to nothing by hand"),
        pytest.param(LIVE, replace(WANTED, replicas=0), False, id="suspended"),
    ],
)
def test_only_restarts_that_the_operator_causes_need_a_place(
    live: LiveTemplate | None, wanted: WantedTemplate, needed: bool
) -> None:
    assert needs_a_place(live, wanted) is needed


UPGRADED = replace(LIVE, template_hash="new", upgrade="new", rolled_out=False)


@pytest.mark.parametrize(
    ("live", "wanted", "phase"),
    [
        pytest.param(UPGRADED, "new", Phase.UNDER_WAY, id="rolling"),
        pytest.param(replace(UPGRADED, failed=True), "new", Phase.FAILED, id="gave up"),
        pytest.param(replace(UPGRADED, rolled_out=True), "new", Phase.SETTLED, id="done"),
        pytest.param(
            replace(UPGRADED, failed=True),
            "newer",
            Phase.SETTLED,
            id="failed under a former operator",
        ),
        pytest.param(
            replace(UPGRADED, upgrade=""), "new", Phase.SETTLED, id="rolling because a person asked"
        ),
        pytest.param(None, "new", Phase.SETTLED, id="no Deployment"),
    ],
)
def test_the_phase_is_read_from_the_live_deployment(
    live: LiveTemplate | None, wanted: str, phase: Phase
) -> None:
    assert phase_of(live, wanted) is phase


def pace(at_once: int = 2, halt: int = 2) -> tuple[Pace, list[str]]:
    rung: list[str] = []
    made = Pace(at_once, halt, rung.append)
    made.seed({})
    return made, rung


def test_the_next_one_is_woken_when_one_is_done() -> None:
    paced, rung = pace(at_once=1)
    assert paced.admit("a") is Decision.PROCEED
    assert paced.admit("b") is Decision.WAIT
    paced.observe("a", Phase.SETTLED)
    assert rung == ["b"]
    assert paced.admit("b") is Decision.PROCEED


def test_nobody_begins_after_two_failed_until_one_recovers() -> None:
    paced, rung = pace()
    for name in ("a", "b"):
        paced.admit(name)
        paced.observe(name, Phase.FAILED)
    assert paced.admit("c") is Decision.HALTED
    assert rung == []
    paced.observe("a", Phase.SETTLED)
    assert rung == ["c"]


def test_a_restarted_operator_counts_what_the_former_began() -> None:
    paced = Pace(1, 2, lambda _: None)
    paced.seed({"a": Phase.UNDER_WAY})
    assert paced.admit("b") is Decision.WAIT
    assert paced.admit("a") is Decision.PROCEED


def test_the_place_of_an_organization_that_is_gone_is_free_again() -> None:
    paced, rung = pace(at_once=1)
    paced.admit("a")
    paced.admit("b")
    paced.leave("a")
    assert rung == ["b"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"),
        st.sampled_from(["admit", "settle", "fail", "leave", "withdraw"]),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 4), st.integers(1, 3))
def test_there_are_never_more_at_work_than_allowed_nor_any_begun_while_halted(
    steps: list[tuple[str, str]], at_once: int, halt: int
) -> None:
    paced, _ = pace(at_once, halt)
    for name, step in steps:
        halted, at_work = paced.failed >= halt, paced.under_way
        if step == "admit":
            decision = paced.admit(name)
            begun = paced.under_way > at_work
            assert not (begun and halted)
            assert begun <= (decision is Decision.PROCEED)
        elif step == "settle":
            paced.observe(name, Phase.SETTLED)
        elif step == "fail":
            paced.observe(name, Phase.FAILED)
        elif step == "leave":
            paced.leave(name)
        else:
            paced.withdraw(name)
        assert paced.under_way <= at_once


@given(st.integers(1, 20), st.integers(1, 5))
def test_everybody_is_restarted_in_the_end(count: int, at_once: int) -> None:
    names = [f"org-{number}" for number in range(count)]
    rung: list[str] = []
    paced = Pace(at_once, 1, rung.append)
    paced.seed({})
    queue, at_work = list(names), list[str]()
    done: list[str] = []
    while queue or at_work:
        at_work.extend(name for name in queue if paced.admit(name) is Decision.PROCEED)
        finished = at_work.pop(0)
        done.append(finished)
        rung.clear()
        paced.observe(finished, Phase.SETTLED)
        queue = list(rung)
    assert sorted(done) == sorted(names)
