"""What people and their tools read, over the life of an organization."""

from dataclasses import replace
from typing import Any

import pytest

from bulkhead_api.runtime_state import PoolUsage
from bulkhead_api.v1alpha1 import MemoryPool, OrganizationRuntime
from bulkhead_operator.errors import NotReadyYet, UserError
from bulkhead_operator.reconcile.report import news
from bulkhead_operator.status import pool
from bulkhead_operator.status.organization import Configuration, Found, Workload, status
from bulkhead_operator.status.pool import PoolFound, two_digits
from tests.support.blueprints import organization_body
from tests.support.kstatus import assert_sane, kstatus

RUNNING = Workload(wanted=1, available=1, current=True)
STARTING = Workload(wanted=1, available=0, current=False)
LOADED = Configuration(followed=True, hash="h1", agents=2)


def found(**fields: Any) -> Found:
    claimed: dict[str, Any] = {
        "namespace": "org-acme",
        "namespace_uid": "n",
        "namespace_made": True,
        "url": "http://runtime.org-acme.svc",
        "runtime_id": "rt-1",
        "missing_credentials": "",
    }
    return Found(**claimed | fields)


READY = found(workload=RUNNING, configuration=LOADED)
STEPS: list[tuple[str, Found, dict[str, Any], str, str]] = [
    ("pods are awaited", found(workload=STARTING), {}, "InProgress", "pending"),
    (
        "a pod runs and has not reported",
        found(workload=RUNNING),
        {},
        "InProgress",
        "pending",
    ),
    ("the runtime follows", READY, {}, "Current", "active"),
    (
        "a new configuration is on its way",
        found(workload=RUNNING, configuration=Configuration(hash="h1", agents=2)),
        {},
        "InProgress",
        "degraded",
    ),
    (
        "the new pod is rolling out",
        found(workload=replace(RUNNING, current=False), configuration=LOADED),
        {},
        "InProgress",
        "degraded",
    ),
    (
        "an upgrade waits for its turn",
        found(
            workload=replace(RUNNING, current=False),
            configuration=LOADED,
            restart_pending=("WaitingForRestarts", "It waits."),
        ),
        {},
        "Current",
        "active",
    ),
    (
        "pods do not start",
        found(workload=replace(STARTING, failure="They do not start.")),
        {},
        "Failed",
        "degraded",
    ),
    (
        "documents are missing",
        found(workload=RUNNING, configuration=LOADED, missing_documents="They are missing."),
        {},
        "Failed",
        "degraded",
    ),
    (
        "a credential is missing",
        found(workload=RUNNING, configuration=LOADED, missing_credentials="It is missing."),
        {},
        "Failed",
        "degraded",
    ),
    ("it is suspended", found(workload=STARTING), {"suspend": True}, "InProgress", "suspended"),
    (
        "a person must act",
        Found(stalled=UserError("NamespaceNotOurs", "Not ours.")),
        {},
        "Failed",
        "degraded",
    ),
    (
        "something is under way",
        Found(waiting=NotReadyYet("NamespaceTerminating", "It goes.")),
        {},
        "InProgress",
        "degraded",
    ),
    ("it is going", Found(terminating="It stops."), {}, "InProgress", "terminating"),
]


def test_every_step_of_a_life_reads_right_and_sane() -> None:
    body = organization_body()
    for step, facts, spec, health, word in STEPS:
        body["spec"] = spec
        parsed = OrganizationRuntime.model_validate(body)
        body["status"] = status(parsed, facts, "2026-01-01T00:00:00Z")
        assert (kstatus(body), body["status"]["state"]) == (health, word), step
        assert_sane(body)


def test_a_fresh_object_is_in_progress_before_anybody_saw_it() -> None:
    assert kstatus(organization_body()) == "InProgress"


def test_a_transition_time_changes_with_the_status_alone() -> None:
    body = organization_body()
    for facts, time in ((STEPS[0][1], "t1"), (STEPS[1][1], "t2"), (READY, "t3"), (READY, "t4")):
        body["status"] = status(OrganizationRuntime.model_validate(body), facts, time)
    times = {one["type"]: one["lastTransitionTime"] for one in body["status"]["conditions"]}
    assert times == {
        "Ready": "t3",
        "WorkloadAvailable": "t2",
        "ConfigurationLoaded": "t3",
        "CredentialsPresent": "t1",
    }


def test_the_same_facts_give_the_same_bytes_later() -> None:
    body = organization_body()
    body["status"] = status(OrganizationRuntime.model_validate(body), READY, "t1")
    assert status(OrganizationRuntime.model_validate(body), READY, "t2") == body["status"]


def test_what_was_recorded_stays_when_a_reconcile_ends_early() -> None:
    body = organization_body()
    body["status"] = status(OrganizationRuntime.model_validate(body), READY, "t1")
    stalled = Found(stalled=UserError("NamespaceClaimed", "Taken."))
    after = status(OrganizationRuntime.model_validate(body), stalled, "t2")
    kept = ("namespace", "namespaceUID", "namespaceCreated", "url", "runtimeId", "activeAgents")
    assert {name: after[name] for name in kept} == {name: body["status"][name] for name in kept}


def test_an_endless_message_is_cut() -> None:
    endless = Found(stalled=UserError("Refused", "x" * 5000))
    body = organization_body()
    (ready, _) = status(OrganizationRuntime.model_validate(body), endless, "t")["conditions"]
    assert len(ready["message"]) == 1024


def conditions(facts: Found) -> list[dict[str, Any]]:
    parsed = OrganizationRuntime.model_validate(organization_body())
    made: list[dict[str, Any]] = status(parsed, facts, "t")["conditions"]
    return made


def test_people_are_told_of_changes_only() -> None:
    waiting, ready = conditions(STEPS[0][1]), conditions(READY)
    stalled = conditions(Found(stalled=UserError("EgressDenied", "No.")))
    assert [one[1] for one in news([], waiting)] == []
    assert [one[1] for one in news(waiting, ready)] == ["BecameReady"]
    assert news(ready, ready) == []
    assert news(ready, stalled) == [("Warning", "EgressDenied", "No.")]
    assert news(stalled, stalled) == []


@pytest.mark.parametrize(
    ("count", "shown"), [(0, 0), (7, 7), (42, 42), (123, 120), (1299, 1200), (98765, 98000)]
)
def test_counts_are_shown_to_two_digits(count: int, shown: int) -> None:
    assert two_digits(count) == shown


def test_usage_within_one_mebibyte_writes_the_same_status() -> None:
    body = {"metadata": {"name": "default", "generation": 1}, "spec": {"maxMemoryMB": 10}}
    parsed = MemoryPool.model_validate(body)
    seen = [
        pool.status(parsed, PoolFound("acme", usage=PoolUsage(used_bytes=used)), "t")
        for used in (2**20 + 1, 2**20 + 5000, 2 * 2**20)
    ]
    assert seen[0] == seen[1] == seen[2]
    assert (seen[0]["usedMB"], seen[0]["usedPercent"]) == (2, 20)
