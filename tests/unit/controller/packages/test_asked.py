from bulkhead_operator.packages.asked import Asked, approved_step, asked
from bulkhead_operator.packages.record import Record, read, written
from bulkhead_operator.packages.rollout import Failure, Phase, Progress, VersionId

V1, V2, V3 = (VersionId(f"{number}.0.0", f"sha256:{number}") for number in (1, 2, 3))
KEPT = {"1.0.0": V1, "2.0.0": V2}
BACK = {"bulkhead.dev/rollback-to": "1.0.0"}
SERVING_V2 = Record(Progress(V2, None, Phase.COMPLETE, 0, weight=100))
WENT_BACK = Record(SERVING_V2.progress, rollback_to="1.0.0", instead_of=V2)


def test_without_annotations_the_spec_is_followed() -> None:
    assert asked(V2, {}, SERVING_V2, KEPT) == Asked(V2)


def test_a_person_goes_back_to_a_version_that_is_kept() -> None:
    wish = asked(V2, BACK, SERVING_V2, KEPT)
    assert (wish.target, wish.going_back) == (V1, True)
    assert wish.noted(SERVING_V2) == WENT_BACK


def test_the_rollback_holds_until_the_spec_names_another_version() -> None:
    assert asked(V2, BACK, WENT_BACK, KEPT).target == V1
    forward = asked(V3, BACK, WENT_BACK, KEPT)
    assert (forward.target, forward.going_back) == (V3, False)
    assert asked(V3, BACK, forward.noted(WENT_BACK), KEPT).target == V3


def test_another_annotation_is_a_new_wish() -> None:
    forward = asked(V3, BACK, WENT_BACK, KEPT).noted(WENT_BACK)
    again = {"bulkhead.dev/rollback-to": "2.0.0"}
    assert asked(V3, again, forward, KEPT).target == V2


def test_a_version_that_is_not_kept_is_named_and_the_spec_stays() -> None:
    wish = asked(V2, {"bulkhead.dev/rollback-to": "0.1.0"}, SERVING_V2, KEPT)
    assert (wish.target, wish.unknown) == (V2, "0.1.0")


def test_only_a_short_number_approves() -> None:
    values = {"2": 2, "two": 0, "-1": 0, "9999999": 0, "\u0662": 0, "": 0}
    found = {text: approved_step({"bulkhead.dev/approve-step": text}) for text in values}
    assert found == values


def test_a_record_survives_status_whole() -> None:
    progress = Progress(
        V3, V1, Phase.RESTORE, 9, 1, 5, 1, Failure("AnalysisFailed", "slow"), "r", 7, started_at=3
    )
    record = Record(progress, "1.0.0", V2, {}, waits_for_approval=True)
    assert read(written(record)) == record
