from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead_operator.packages.rollout import (
    UNDER_WAY,
    Decision,
    Failure,
    Phase,
    Plan,
    Progress,
    Seen,
    Step,
    Verdict,
    VersionId,
    Wanted,
    advance,
    weights,
)

V1, V2, V3 = (VersionId(f"{number}.0.0", f"sha256:{number}") for number in (1, 2, 3))
ALL_AT_ONCE = Plan((), 600, automatic_rollback=True)
CANARY = Plan((Step(5, 60), Step(25, None), Step(50, 0)), 600, automatic_rollback=True)
SERVING_V1 = Progress(V1, None, Phase.COMPLETE, 0, weight=100)
GOOD = Seen(0, loaded=True, health=Verdict.PASSED, analysis=Verdict.PASSED)
SLOW = Failure("AnalysisFailed", "version 2.0.0 is too slow")


def _canary_at_the_first_step(plan: Plan = CANARY) -> Progress:
    return advance(SERVING_V1, Wanted(V2, plan), replace(GOOD, now=100)).progress


def test_a_first_version_gets_sessions_only_when_it_is_loaded_and_healthy() -> None:
    wanted = Wanted(V1, CANARY)
    loading = advance(None, wanted, Seen(0))
    checking = advance(loading.progress, wanted, Seen(1, loaded=True))
    done = advance(checking.progress, wanted, replace(GOOD, now=2))

    assert [one.progress.phase for one in (loading, checking, done)] == [
        Phase.LOAD,
        Phase.HEALTH_CHECK,
        Phase.COMPLETE,
    ]
    assert [weights(one.progress) for one in (loading, checking, done)] == [
        {V1: 0},
        {V1: 0},
        {V1: 100},
    ]


def test_a_canary_goes_step_by_step_as_pause_approval_and_analysis_allow() -> None:
    wanted = Wanted(V2, CANARY)
    first = advance(SERVING_V1, wanted, replace(GOOD, now=100))
    held = advance(first.progress, wanted, replace(GOOD, now=159))
    second = advance(first.progress, wanted, replace(GOOD, now=160))
    days = advance(second.progress, wanted, replace(GOOD, now=500_000))
    approved = Wanted(V2, CANARY, approved_step=2)
    judged = advance(days.progress, approved, replace(GOOD, now=500_100, analysis=Verdict.PENDING))
    third = advance(judged.progress, approved, replace(GOOD, now=500_200))
    done = advance(third.progress, approved, replace(GOOD, now=500_201))

    assert [one.progress.weight for one in (first, held, second, days, judged, third, done)] == [
        *(5, 5, 25, 25, 25, 50, 100)
    ]
    assert (first.wake_at, held.wake_at, judged.wake_at) == (160, 160, 500_700)
    assert (days.waits_for_approval, judged.waits_for_approval) == (True, False)
    assert weights(third.progress) == {V2: 50, V1: 50}
    assert done.progress.phase is Phase.COMPLETE


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        pytest.param(Seen(101, broken=SLOW), "AnalysisFailed", id="what broke"),
        pytest.param(Seen(101, failure=SLOW), "AnalysisFailed", id="what was judged"),
        pytest.param(
            replace(GOOD, now=10_000, analysis=Verdict.PENDING),
            "ProgressDeadlineExceeded",
            id="what never ends",
        ),
    ],
)
def test_a_failing_version_loses_its_share_at_once_and_the_former_one_is_validated(
    seen: Seen, reason: str
) -> None:
    wanted = Wanted(V2, CANARY)
    left = advance(_canary_at_the_first_step(), wanted, seen)
    unsure = advance(left.progress, wanted, Seen(10_001, origin_loaded=False))
    restored = advance(left.progress, wanted, Seen(10_002, origin_health=Verdict.PASSED))

    assert left.progress.phase is Phase.RESTORE
    assert weights(left.progress) == {V1: 100}
    assert left.progress.failure is not None
    assert left.progress.failure.reason == reason
    assert unsure.progress.phase is Phase.RESTORE
    assert restored.progress.phase is Phase.RESTORED


def test_a_failed_version_is_tried_again_only_when_a_person_asks_or_the_spec_changes() -> None:
    failed = Progress(V2, V1, Phase.RESTORED, 0, failure=SLOW)
    same = advance(failed, Wanted(V2, CANARY), replace(GOOD, now=50))
    asked = advance(failed, Wanted(V2, CANARY, retry="again"), replace(GOOD, now=50))
    other = advance(failed, Wanted(V3, CANARY), replace(GOOD, now=50))
    reverted = advance(failed, Wanted(V1, CANARY), replace(GOOD, now=50))

    assert same.progress == failed
    assert (asked.progress.phase, asked.progress.weight) == (Phase.SHIFT, 5)
    assert (other.progress.target, other.progress.origin) == (V3, V1)
    assert reverted.progress.phase is Phase.COMPLETE
    assert weights(reverted.progress) == {V1: 100}


def test_another_version_in_the_middle_starts_from_what_served_before() -> None:
    decision = advance(_canary_at_the_first_step(), Wanted(V3, CANARY), Seen(200))
    assert weights(decision.progress) == {V3: 0, V1: 100}


def test_a_revert_in_the_middle_needs_no_steps() -> None:
    decision = advance(_canary_at_the_first_step(), Wanted(V1, CANARY), Seen(200))
    assert weights(decision.progress) == {V1: 100}


def test_going_back_skips_the_steps_but_not_the_health_checks() -> None:
    wanted = Wanted(V1, CANARY, going_back=True)
    serving_v2 = replace(SERVING_V1, target=V2)
    unhealthy = advance(serving_v2, wanted, Seen(1, loaded=True))
    healthy = advance(unhealthy.progress, wanted, replace(GOOD, now=2))

    assert weights(unhealthy.progress) == {V1: 0, V2: 100}
    assert weights(healthy.progress) == {V1: 100}


def test_without_automatic_rollback_a_failing_step_waits_for_a_person() -> None:
    plan = replace(CANARY, automatic_rollback=False)
    held = advance(_canary_at_the_first_step(plan), Wanted(V2, plan), Seen(101, failure=SLOW))
    better = advance(held.progress, Wanted(V2, plan), replace(GOOD, now=170))

    assert (held.progress.weight, held.waits_for_approval) == (5, True)
    assert held.progress.failure == SLOW
    assert (better.progress.weight, better.progress.failure) == (25, None)


def test_a_suspended_rollout_stands_still_and_loses_no_time() -> None:
    canary = _canary_at_the_first_step()
    asleep = advance(canary, Wanted(V2, CANARY, suspended=True), replace(GOOD, now=130))
    still = advance(asleep.progress, Wanted(V2, CANARY, suspended=True), replace(GOOD, now=9_000))
    awake = advance(still.progress, Wanted(V2, CANARY), replace(GOOD, now=9_010))

    assert asleep.progress.weight == still.progress.weight == 5
    assert awake.wake_at == 9_040


def test_a_suspended_package_begins_nothing_and_still_leaves_what_breaks() -> None:
    suspended = Wanted(V2, CANARY, suspended=True)
    assert advance(SERVING_V1, suspended, replace(GOOD, now=5)).progress == SERVING_V1
    broken = advance(_canary_at_the_first_step(), suspended, Seen(101, broken=SLOW))
    assert weights(broken.progress) == {V1: 100}


VERDICTS = st.sampled_from(list(Verdict))
SIGHTS = st.builds(
    Seen,
    now=st.just(0),
    loaded=st.booleans(),
    health=VERDICTS,
    analysis=VERDICTS,
    broken=st.one_of(st.none(), st.none(), st.just(SLOW)),
    failure=st.one_of(st.none(), st.none(), st.just(SLOW)),
    origin_loaded=st.booleans(),
    origin_health=VERDICTS,
)
PLANS = st.builds(
    Plan,
    st.lists(
        st.builds(Step, st.integers(1, 99), st.one_of(st.none(), st.integers(0, 300))), max_size=4
    ).map(tuple),
    st.integers(60, 600),
    st.booleans(),
)
WISHES = st.builds(
    Wanted,
    st.sampled_from([V1, V2, V3]),
    PLANS,
    retry=st.sampled_from(["", "a", "b"]),
    approved_step=st.integers(0, 4),
    suspended=st.booleans(),
    going_back=st.booleans(),
)
HISTORIES = st.lists(st.tuples(WISHES, SIGHTS, st.integers(0, 400)), max_size=30)


@given(HISTORIES)
def test_in_every_order_of_events_no_version_serves_that_was_not_loaded_and_healthy(
    history: list[tuple[Wanted, Seen, int]],
) -> None:
    progress: Progress | None = None
    now, served, proven = 0, False, set[VersionId]()
    for wanted, sight, later in history:
        now += later
        seen = replace(sight, now=now)
        if seen.loaded and seen.health is Verdict.PASSED:
            proven.add(wanted.target)
        former = progress
        progress = advance(progress, wanted, seen).progress
        shares = weights(progress)
        served = served or progress.phase is Phase.COMPLETE
        assert sum(shares.values()) == (100 if served else 0)
        assert all(share == 0 or version in proven for version, share in shares.items())
        _assert_left_at_once(former, wanted, seen, progress)


def _assert_left_at_once(
    former: Progress | None, wanted: Wanted, seen: Seen, progress: Progress
) -> None:
    same = former is not None and former.target == wanted.target and former.phase in UNDER_WAY
    if same and (seen.broken or seen.failure) and wanted.plan.automatic_rollback:
        assert progress.weight == 0
        assert progress.phase in {Phase.RESTORE, Phase.RESTORED}


def _run(progress: Progress, wanted: Wanted, sight: Seen) -> Decision:
    """Go on until nothing changes, waking up when asked to."""
    now, decision = progress.since, Decision(progress)
    for _ in range(40):
        former, decision = decision, advance(decision.progress, wanted, replace(sight, now=now))
        if decision == former and decision.wake_at is None:
            break
        now = decision.wake_at or now
    return decision


@given(HISTORIES, PLANS)
def test_from_wherever_it_stands_a_good_version_ends_complete_and_a_bad_one_restored(
    history: list[tuple[Wanted, Seen, int]], plan: Plan
) -> None:
    progress, now = SERVING_V1, 0
    for wanted, sight, later in history:
        now += later
        progress = advance(progress, wanted, replace(sight, now=now)).progress
    plan = replace(plan, automatic_rollback=True)
    wanted = Wanted(V2, plan, retry="once more", approved_step=9)
    silent = Seen(0, loaded=True, origin_health=Verdict.PASSED)

    good = _run(progress, wanted, replace(GOOD, origin_health=Verdict.PASSED))
    late = _run(progress, wanted, silent)

    assert weights(good.progress)[V2] == 100
    assert late.progress.phase in {Phase.RESTORED, Phase.COMPLETE}
