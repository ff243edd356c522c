"""What is taken for granted of a version, and what has to be seen of itself."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bulkhead_api.runtime_config import PackageContent, PackageDocument
from bulkhead_api.runtime_state import LoadedVersion, Measurement, RuntimeState
from bulkhead_api.v1alpha1.agents import Agent
from bulkhead_api.v1alpha1.package_rollout import Rollout
from bulkhead_operator.packages.asked import Asked
from bulkhead_operator.packages.decision import Situation, decide
from bulkhead_operator.packages.record import Record
from bulkhead_operator.packages.reports import Reports
from bulkhead_operator.packages.rollout import Failure, Phase, Progress, VersionId


def _document(version: str) -> PackageDocument:
    return PackageDocument.of("support", version, (Agent(name="helper", instructions=version),))


DOCUMENTS = {one.checksum: one for one in map(_document, ("1.0.0", "2.0.0", "3.0.0"))}
V1, V2, V3 = (VersionId(one.version, one.checksum) for one in DOCUMENTS.values())
CANARY = Rollout.model_validate({"strategy": "Canary", "steps": [{"weight": 5, "approval": True}]})


JUDGED = Rollout.model_validate(
    {
        "strategy": "Canary",
        "steps": [{"weight": 5}],
        "analysis": {"maxErrorPercent": 5, "minimumExecutions": 10},
    }
)


def _loaded(*versions: VersionId, measurements: Sequence[Measurement] = ()) -> Reports:
    state = RuntimeState(
        organization="acme",
        runtime_id="rt-test",
        runtime_version="1.0.0",
        configuration_hash="hash",
        versions=tuple(
            LoadedVersion(package="support", version=one.version, checksum=one.checksum)
            for one in versions
        ),
        measurements=tuple(measurements),
    )
    return Reports({"pod": state})


def _situation(record: Record, target: VersionId, **fields: object) -> Situation:
    given = Situation(
        package="support",
        rollout=CANARY,
        annotations={},
        asked=Asked(target),
        record=record,
        reports=_loaded(V1, V2),
        documents=DOCUMENTS,
        now=200,
    )
    return replace(given, **fields)  # type: ignore[arg-type]


SHIFTING = Record(Progress(V2, V1, Phase.SHIFT, 100, weight=5, started_at=90))


def test_a_version_that_overtakes_another_must_be_loaded_and_checked_itself() -> None:
    following = decide(_situation(SHIFTING, V3))
    progress = following.record.progress
    assert (progress.target, progress.origin, progress.phase) == (V3, V1, Phase.LOAD)
    assert progress.weight == 0


def test_what_another_version_did_is_not_held_against_the_one_that_overtakes_it() -> None:
    crashed = Failure("CrashLoop", "the runtime crashes")
    progress = decide(_situation(SHIFTING, V3, broken=crashed)).record.progress
    assert (progress.phase, progress.failure) == (Phase.LOAD, None)
    assert decide(_situation(SHIFTING, V2, broken=crashed)).record.progress.failure == crashed


def test_a_version_that_is_tried_again_is_not_failed_by_what_it_did_before() -> None:
    crashed = Failure("CrashLoop", "the runtime crashes")
    restored = Record(
        Progress(V2, V1, Phase.RESTORED, 100, failure=crashed, started_at=90, retry="")
    )
    asked_again = _situation(
        restored, V2, annotations={"bulkhead.dev/retry": "now"}, broken=crashed
    )
    progress = decide(asked_again).record.progress
    assert (progress.phase, progress.failure, progress.retry) == (Phase.LOAD, None, "now")


def test_a_version_tried_again_within_a_second_is_judged_by_what_it_does_from_then_on() -> None:
    crashed = Measurement(package="support", version="2.0.0", executions=30, crashes=2)
    reports = _loaded(V1, V2, measurements=[crashed])
    record = Record(Progress(V2, V1, Phase.RESTORED, 100, failure=Failure("CrashLoop", "twice")))
    phases = []
    for _ in range(3):
        again = {"bulkhead.dev/retry": "now"}
        record = decide(
            _situation(record, V2, rollout=JUDGED, reports=reports, annotations=again)
        ).record
        phases.append(record.progress.phase)
    assert phases == [Phase.LOAD, Phase.SHIFT, Phase.SHIFT]


SERVING = Record(Progress(V1, None, Phase.COMPLETE, 100, weight=100))
ALL_AT_ONCE = Rollout()


def test_the_only_replica_may_give_sessions_to_a_version_that_it_only_has_to_load() -> None:
    following = decide(_situation(SERVING, V2, rollout=ALL_AT_ONCE, alone=True))
    assert (following.record.progress.phase, following.record.progress.weight) == (Phase.LOAD, 0)
    assert following.shares == {V2: 100, V1: 0}


def _holding(**content: object) -> Situation:
    """Return what is known of 2.0.0 when it holds more than agents."""
    document = PackageDocument.holding(
        "support", "2.0.0", PackageContent.model_validate(content, by_name=True)
    )
    target = VersionId("2.0.0", document.checksum)
    documents = {**DOCUMENTS, document.checksum: document}
    return _situation(SERVING, target, rollout=ALL_AT_ONCE, alone=True, documents=documents)


PLAIN = _situation(SERVING, V2, rollout=ALL_AT_ONCE, alone=True)
CHECKED = _holding(
    health_checks=[{"name": "answers", "http": {"url": "https://a.example.com/health"}}]
)
FETCHED = _holding(oci={"reference": f"registry.example.com/support@sha256:{64 * '0'}"})


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param(replace(PLAIN, alone=False), id="another replica may have it later"),
        pytest.param(replace(PLAIN, rollout=CANARY), id="it takes over step by step"),
        pytest.param(CHECKED, id="it is checked first"),
        pytest.param(FETCHED, id="its content has to be fetched"),
        pytest.param(replace(PLAIN, unready={V2.checksum: "a Job"}), id="it waits for pods"),
        pytest.param(replace(PLAIN, partner="below"), id="it waits for another package"),
        pytest.param(replace(PLAIN, documents={}), id="nobody knows its content"),
    ],
)
def test_no_version_gets_sessions_by_being_loaded_where(situation: Situation) -> None:
    following = decide(situation)
    assert following.record.progress.phase is Phase.LOAD
    assert following.shares == {situation.asked.target: 0, V1: 100}


def test_a_version_that_is_held_while_it_is_loaded_gets_no_sessions() -> None:
    loading = decide(PLAIN).record
    assert decide(replace(PLAIN, record=loading, held=True, reports=Reports({}))).shares == {
        V2: 0,
        V1: 100,
    }
