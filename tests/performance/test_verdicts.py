"""What a table says must follow from what was measured, most of all when it was measured badly."""

import json
from functools import partial
from pathlib import Path

import pytest

from tests.performance.__main__ import parse
from tests.performance.harness import report
from tests.performance.harness.results import OURS, Bar, added_ratio, judge, plain, ratio
from tests.performance.harness.rounds import AGAIN, MeasurementError, Round, interleave
from tests.performance.rows.children import fields_of_ours

BAR = Bar("row", "a row", "peer", 0.5, "lower", ratio("ms", "peer"), control="ms")


def _round(ours: float, again: float, peer: float) -> Round:
    return Round({OURS: {"ms": ours}, AGAIN: {"ms": again}, "peer": {"ms": peer}})


def test_a_row_is_the_median_of_the_ratios_of_its_rounds() -> None:
    result = judge(BAR, [_round(4, 4, 10), _round(3, 3, 10), _round(90, 90, 100)])
    assert (result.value, result.low, result.high, result.met) == (0.4, 0.3, 0.9, True)


def test_a_bar_is_missed_by_a_value_on_its_wrong_side() -> None:
    assert judge(BAR, [_round(6, 6, 10)]).met is False


def test_a_row_gets_no_verdict_when_the_same_thing_twice_differs_by_more_than_a_tenth() -> None:
    result = judge(BAR, [_round(4, 5, 10)])
    assert result.met is None
    assert "noisy" in report.table([result])


def test_the_worst_of_many_failure_counts_is_what_counts() -> None:
    bar = Bar("row", "a row", "none", 0, "lower", plain("failed"), summary="worst")
    rounds = [Round({OURS: {"failed": count}}) for count in (0, 0, 3)]
    assert (judge(bar, rounds).value, judge(bar, rounds).met) == (3, False)


def test_what_is_added_to_the_base_is_compared_without_the_base() -> None:
    measured = Round({OURS: {"ms": 1.5}, "peer": {"ms": 6.0}, "stub": {"ms": 1.0}})
    assert added_ratio("ms", "peer", "stub")(measured) == pytest.approx(0.1)


def test_a_reference_that_measured_nothing_is_an_error_and_no_victory() -> None:
    with pytest.raises(MeasurementError, match="peer measured 0"):
        judge(BAR, [_round(1, 1, 0)])


def test_variants_take_turns_in_alternating_order_with_the_control_at_the_other_end() -> None:
    ran: list[str] = []

    def run(name: str) -> dict[str, float]:
        ran.append(name)
        return {"ms": 1}

    variants = {name: partial(run, name) for name in (OURS, "peer", "other")}
    rounds = interleave(variants, 2, repeated=OURS)
    assert ran == [OURS, "peer", "other", OURS, OURS, "other", "peer", OURS]
    assert set(rounds[1].variants) == {OURS, AGAIN, "peer", "other"}


def test_measuring_one_row_again_keeps_the_others_of_an_earlier_run(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    other = Bar("other", "another", "peer", 0.5, "lower", ratio("ms", "peer"))
    report.write(path, [judge(BAR, [_round(4, 4, 10)]), judge(other, [_round(4, 4, 10)])])
    report.write(path, [judge(BAR, [_round(3, 3, 10)])])
    assert {row["id"]: row["value"] for row in json.loads(path.read_text())} == {
        "row": 0.3,
        "other": 0.4,
    }


def test_a_row_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(SystemExit, match=r"No such row: speed[.]\nRows: .*turns"):
        parse(["ONLY=speed"])


def test_only_fields_that_the_operator_wrote_are_handed_to_its_peer() -> None:
    live = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "runtime",
            "namespace": "org-acme",
            "uid": "1",
            "labels": {"a": "ours", "b": "theirs"},
            "managedFields": [
                {
                    "manager": "bulkhead-operator",
                    "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:a": {}}},
                        "f:spec": {
                            "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}
                        },
                    },
                },
                {"manager": "someone", "fieldsV1": {"f:metadata": {"f:labels": {"f:b": {}}}}},
            ],
        },
        "spec": {
            "clusterIP": "10.96.0.7",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        },
    }
    assert fields_of_ours(live) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "runtime", "namespace": "org-acme", "labels": {"a": "ours"}},
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}]},
    }
