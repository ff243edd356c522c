import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead_runtime.store import states
from bulkhead_runtime.store.port import Turn
from bulkhead_runtime.store.spending import TurnEnd
from bulkhead_runtime.store.states import SessionStatus

TURN = Turn("ses_1", 1, 1, ())
ANY = st.sampled_from(sorted(states.STATUSES))


@given(st.lists(ANY, max_size=20))
def test_whatever_is_tried_a_session_only_ever_goes_along_the_table(
    wanted: list[SessionStatus],
) -> None:
    current: SessionStatus = "idle"
    for status in wanted:
        if status == current or status in states.ALLOWED[current]:
            states.check(current, status)
            current = status
        else:
            with pytest.raises(states.IllegalTransitionError, match=f"from {current} to {status}"):
                states.check(current, status)


@given(ANY)
def test_a_turn_may_begin_in_every_state_but_archived(status: SessionStatus) -> None:
    if status == "archived":
        with pytest.raises(states.IllegalTransitionError, match="from archived to executing"):
            states.starting(status)
    else:
        states.starting(status)


@given(st.sampled_from(sorted(states.RUNNING)), st.sampled_from(sorted(states.ENDED)))
def test_a_running_turn_may_end_in_every_way(running: SessionStatus, ended: SessionStatus) -> None:
    states.check(running, ended)
    assert TurnEnd(TURN, ended, ()).status == ended


@given(st.sampled_from(sorted(states.STATUSES - states.ENDED)))
def test_no_turn_ends_in_any_other_state(status: SessionStatus) -> None:
    with pytest.raises(states.IllegalTransitionError, match=f"from executing to {status}"):
        TurnEnd(TURN, status, ())


@given(st.sampled_from(sorted(states.STATUSES - states.RUNNING)))
def test_nothing_waits_or_queues_without_a_turn(status: SessionStatus) -> None:
    for wanted in ("waiting_approval", "executing_queued"):
        with pytest.raises(states.IllegalTransitionError):
            states.check(status, wanted)


@given(ANY)
def test_every_state_is_left_for_the_archive_and_the_archive_never(status: SessionStatus) -> None:
    states.check(status, "archived")
    if status != "archived":
        with pytest.raises(states.IllegalTransitionError):
            states.check("archived", status)
    assert states.ALLOWED.keys() == states.STATUSES
