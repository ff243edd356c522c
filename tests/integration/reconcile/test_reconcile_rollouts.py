"""Rollouts against a real API server: canaries, what takes them back, and what people ask for."""

from collections.abc import Callable
from typing import Any

import pytest

from bulkhead_api.runtime_config import PackageDocument
from bulkhead_api.runtime_state import LATENCY_BOUNDS, Measurement
from bulkhead_api.v1alpha1.agents import Agent
from tests.integration.reconcile.bad_packages import ELSEWHERE
from tests.integration.reconcile.conftest import World, condition_of, package
from tests.integration.reconcile.test_reconcile_packages import loaded, until_loaded
from tests.support.api_observer import Object, path_of
from tests.support.deadline import until
from tests.support.kstatus import kstatus

CHECKS = [{"name": "answers", "http": {"url": "https://a.example.com/health"}}]
HOLDING = {"strategy": "Canary", "steps": [{"weight": 5, "approval": True}]}


def version(name: str, number: str, **spec: Any) -> Object:
    """Return the package `support` of an organization in one version."""
    manifest = package(f"org-{name}", "support", number, helper={"instructions": f"v{number}"})
    manifest["spec"] |= spec
    return manifest


async def in_service(world: World, name: str, **spec: Any) -> None:
    """Bring an organization up that serves version 1.0.0."""
    await world.active(name)
    first = version(name, "1.0.0", **spec)
    await world.api.create(first)
    await world.ready(first, status="True")


async def asks_for(world: World, manifest: Object) -> None:
    """Replace the spec as `kubectl apply` does."""
    path = path_of(manifest)
    live = await world.api.get(path)
    assert live is not None
    await world.api.merge(path, {"spec": {**dict.fromkeys(live["spec"]), **manifest["spec"]}})


async def annotated(world: World, manifest: Object, name: str, value: str | None) -> None:
    marks = {"annotations": {f"bulkhead.dev/{name}": value}}
    await world.api.merge(path_of(manifest), {"metadata": marks})


def measured(number: str, **figures: Any) -> Measurement:
    return Measurement(package="support", version=number, **figures)


async def test_a_canary_gets_its_shares_one_after_the_other(operated: World) -> None:
    await in_service(operated, "canary")
    steps = [{"weight": 5, "pauseSeconds": 1}, {"weight": 50, "approval": True}]
    second = version("canary", "2.0.0", rollout={"strategy": "Canary", "steps": steps})
    await asks_for(operated, second)
    await until_loaded(operated, "org-canary", {"support 1.0.0": 95, "support 2.0.0": 5})
    await until_loaded(operated, "org-canary", {"support 1.0.0": 50, "support 2.0.0": 50})
    waiting = await operated.ready(second, reason="WaitingForApproval", message="approve-step: 2")
    assert kstatus(waiting) == "InProgress"
    await annotated(operated, second, "approve-step", "2")
    live = await operated.ready(second, status="True")
    assert live["status"]["version"] == "2.0.0"
    assert kstatus(live) == "Current"
    await until_loaded(operated, "org-canary", {"support 2.0.0": 100})
    shown = [(one["version"], one["outcome"]) for one in live["status"]["history"]]
    assert shown == [("2.0.0", "Succeeded"), ("1.0.0", "Succeeded")]


async def refuse(world: World) -> None:
    world.runtime.refuse.add("package_support_2.0.0.json")


async def fail_checks(world: World) -> None:
    world.runtime.unhealthy.add("2.0.0")


async def hang_checks(world: World) -> None:
    world.runtime.undecided.add("2.0.0")


def counting(**figures: Any) -> Callable[[World], Any]:
    async def count(world: World) -> None:
        world.runtime.measurements["support", "2.0.0"] = measured("2.0.0", **figures)

    return count


async def crash(world: World) -> None:
    (pod,) = [one for one in world.runtime.pods.values() if one.organization.startswith("bad-")]
    ended = {"finishedAt": "2099-01-01T00:00:00Z", "exitCode": 1, "reason": "Error"}
    container = {
        "name": "runtime",
        "image": "runtime",
        "imageID": "",
        "ready": False,
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": ended},
    }
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status"
    await world.api.merge(path, {"status": {"containerStatuses": [container]}})
    await world.runtime.set_ready(pod, ready=False)


SLOW = (0,) * (len(LATENCY_BOUNDS) - 1) + (0, 20)
BAD: list[Any] = [
    pytest.param("refused", refuse, {}, "RefusedByRuntime", id="what the runtime refuses"),
    pytest.param(
        "unhealthy",
        fail_checks,
        {"healthChecks": CHECKS},
        "HealthCheckFailed",
        id="what fails its health check",
    ),
    pytest.param(
        "hanging",
        hang_checks,
        {"healthChecks": CHECKS, "rollout": {"progressDeadlineSeconds": 10}},
        "ProgressDeadlineExceeded",
        id="whose health check never ends",
    ),
    *(
        pytest.param(
            name,
            counting(executions=20, **figures),
            {"rollout": {**HOLDING, "analysis": analysis}},
            "AnalysisFailed",
            id=f"what is {name} while a person is awaited",
        )
        for name, figures, analysis in (
            ("error-prone", {"failures": 20}, {"maxErrorPercent": 5}),
            ("slow", {"seconds": SLOW}, {"maxLatencySeconds": 10}),
            ("costly", {"cost": "9.5"}, {"maxCostPerRun": "0.10"}),
            ("denied", {"tool_calls": 4, "tool_denials": 4}, {"maxToolDenialPercent": 10}),
        )
    ),
    pytest.param(
        "crashing", crash, {"rollout": HOLDING}, "CrashLoop", id="what crashes its process"
    ),
]


@pytest.mark.parametrize(("name", "spoil", "spec", "reason"), BAD)
async def test_a_bad_version_is_taken_back_by_itself(
    operated: World, name: str, spoil: Callable[[World], Any], spec: Object, reason: str
) -> None:
    organization = f"bad-{name}"
    await in_service(operated, organization)
    canary = spec.get("rollout", {}).get("strategy") == "Canary"
    second = version(organization, "2.0.0", **spec)
    if not canary:
        await spoil(operated)
    await asks_for(operated, second)
    if canary:
        shares = {"support 1.0.0": 95, "support 2.0.0": 5}
        await until_loaded(operated, f"org-{organization}", shares)
        await spoil(operated)
    live = await operated.ready(second, reason=reason)
    assert condition_of(live, "Stalled")["status"] == "True"
    assert kstatus(live) == "Failed"
    assert live["spec"]["version"] == "2.0.0"
    assert live["status"]["version"] == "1.0.0"
    assert live["status"]["history"][0]["outcome"] == reason
    await until_loaded(operated, f"org-{organization}", {"support 1.0.0": 100})


async def test_a_failed_version_is_tried_again_when_a_person_asks(operated: World) -> None:
    await in_service(operated, "retried")
    operated.runtime.unhealthy.add("2.0.0")
    second = version("retried", "2.0.0", healthChecks=CHECKS)
    await asks_for(operated, second)
    failed = await operated.ready(second, reason="HealthCheckFailed", message="status 500")
    assert failed["status"]["checks"] == [
        {"name": "answers", "passed": False, "message": "status 500"}
    ]
    operated.runtime.unhealthy.clear()
    await annotated(operated, second, "retry", "1")
    live = await operated.ready(second, status="True")
    newest = live["status"]["history"][0]
    assert (newest["version"], newest["cause"], newest["outcome"]) == (
        *("2.0.0", "Retry", "Succeeded"),
    )


async def test_a_refused_version_is_given_to_the_runtime_again_when_a_person_asks(
    operated: World,
) -> None:
    await in_service(operated, "given")
    operated.runtime.refuse.add("package_support_2.0.0.json")
    second = version("given", "2.0.0")
    await asks_for(operated, second)
    await operated.ready(second, reason="RefusedByRuntime")
    operated.runtime.refuse.clear()
    await annotated(operated, second, "retry", "now")
    await operated.ready(second, status="True")


async def test_a_person_goes_back_and_the_next_version_of_the_spec_goes_forward(
    operated: World,
) -> None:
    await in_service(operated, "back-and-forth")
    second = version("back-and-forth", "2.0.0")
    await asks_for(operated, second)
    await operated.ready(second, status="True", message="2.0.0")
    await annotated(operated, second, "rollback-to", "1.0.0")
    back = await operated.ready(second, status="True", reason="RolledBack")
    assert back["status"]["version"] == "1.0.0"
    newest = back["status"]["history"][0]
    assert (newest["version"], newest["revision"], newest["cause"]) == ("1.0.0", 3, "Rollback")
    third = version("back-and-forth", "3.0.0")
    await asks_for(operated, third)
    live = await operated.ready(third, status="True", reason="InService")
    assert live["status"]["version"] == "3.0.0"


async def test_the_history_says_which_field_manager_asked(operated: World) -> None:
    await operated.active("asked-by")
    manifest = version("asked-by", "1.0.0")
    await operated.api.expect(
        "PATCH",
        f"{path_of(manifest)}?fieldManager=kustomize-controller",
        manifest,
        "application/apply-patch+yaml",
    )
    live = await operated.ready(manifest, status="True")
    (revision,) = live["status"]["history"]
    assert (revision["by"], revision["cause"]) == ("kustomize-controller", "Spec")
    assert revision["at"] > "2020"


async def test_going_back_to_what_is_not_kept_is_stalled_and_changes_nothing(
    operated: World,
) -> None:
    await in_service(operated, "unkept")
    await annotated(operated, version("unkept", "1.0.0"), "rollback-to", "0.9.0")
    live = await operated.ready(
        version("unkept", "1.0.0"), reason="UnknownRevision", message="kept are 1.0.0"
    )
    assert live["status"]["version"] == "1.0.0"


async def test_a_suspended_package_holds_what_is_asked_for(operated: World) -> None:
    await in_service(operated, "held")
    second = version("held", "2.0.0", suspend=True)
    await asks_for(operated, second)
    live = await operated.ready(second, reason="Suspended")
    assert live["status"]["version"] == "1.0.0"
    await operated.api.merge(path_of(second), {"spec": {"suspend": False}})
    await operated.ready(second, status="True", message="2.0.0")


async def test_a_version_that_needs_what_is_not_there_never_gets_traffic(operated: World) -> None:
    await in_service(operated, "needy")
    wish = {"type": "Integration", "name": "crm", "version": ">=3 <4"}
    second = version("needy", "2.0.0", dependencies=[wish])
    await asks_for(operated, second)
    live = await operated.ready(second, reason="DependencyNotMet", message="crm >=3 <4")
    assert condition_of(live, "Resolved")["status"] == "False"
    assert loaded(operated, "org-needy") == {"support 1.0.0": 100}
    crm = [{"name": "crm", "version": "3.1.0"}]
    organization = "/apis/bulkhead.dev/v1alpha1/organizationruntimes/needy"
    await operated.api.merge(organization, {"spec": {"integrations": crm}})
    await operated.ready(second, status="True", message="2.0.0")


async def test_optional_needs_and_libraries_are_judged_by_what_the_runtime_reports(
    operated: World,
) -> None:
    await operated.active("optional")
    wishes = [
        {"type": "Library", "name": "HTTPX", "version": "^0.28"},
        {"type": "Runtime", "name": "python", "version": ">=3.12"},
        {"type": "Integration", "name": "erp", "version": "*", "required": False},
    ]
    first = version("optional", "1.0.0", dependencies=wishes)
    await operated.api.create(first)
    live = await operated.ready(first, status="True")
    (unmet,) = live["status"]["unmetOptional"]
    assert "erp" in unmet


async def test_a_registry_that_is_away_is_waited_for_and_told_of(operated: World) -> None:
    await in_service(operated, "away")
    operated.runtime.away.add("2.0.0")
    second = version("away", "2.0.0", **ELSEWHERE, rollout={"progressDeadlineSeconds": 60})
    await asks_for(operated, second)
    waiting = await operated.ready(second, reason="Loading", message="is fetched again")
    assert kstatus(waiting) == "InProgress"
    operated.runtime.away.clear()
    await operated.ready(second, status="True", message="2.0.0")


async def test_a_registry_that_stays_away_ends_the_rollout_and_is_named(operated: World) -> None:
    await in_service(operated, "cutoff")
    operated.runtime.away.add("2.0.0")
    second = version("cutoff", "2.0.0", **ELSEWHERE, rollout={"progressDeadlineSeconds": 10})
    await asks_for(operated, second)
    live = await operated.ready(
        second, reason="ProgressDeadlineExceeded", message="registry.example.com does not answer"
    )
    assert live["status"]["version"] == "1.0.0"


async def test_packages_that_need_each_other_in_a_circle_are_refused(operated: World) -> None:
    await operated.active("circle")
    for name, other in (("left", "right"), ("right", "left")):
        manifest = package("org-circle", name, "1.0.0", **{name: {}})
        need = {"type": "Package", "name": other, "version": "*"}
        manifest["spec"]["dependencies"] = [need]
        await operated.api.create(manifest)
    left = package("org-circle", "left", "1.0.0", left={})
    await operated.ready(left, reason="DependencyNotMet", message="circle")
    assert loaded(operated, "org-circle") == {}


async def test_a_package_waits_for_the_package_that_it_needs(operated: World) -> None:
    await operated.active("chain")
    above = package("org-chain", "above", "1.0.0", above={})
    above["spec"]["dependencies"] = [{"type": "Package", "name": "below", "version": "^1"}]
    await operated.api.create(above)
    waiting = await operated.ready(above, reason="WaitingForDependency", message="below ^1")
    assert kstatus(waiting) == "InProgress"
    await operated.api.create(package("org-chain", "below", "1.2.0", below={}))
    await operated.ready(above, status="True")
    second = package("org-chain", "below", "2.0.0", below={"instructions": "new"})
    await asks_for(operated, second)
    await operated.ready(second, reason="DependencyNotMet", message="above 1.0.0")


async def test_a_package_that_never_comes_is_waited_for_until_the_deadline(world: World) -> None:
    async with world.operator():
        await world.active("vain")
        above = package("org-vain", "above", "1.0.0", above={})
        above["spec"]["dependencies"] = [{"type": "Package", "name": "below", "version": "^1"}]
        above["spec"]["rollout"] = {"progressDeadlineSeconds": 10}
        await world.api.create(above)
        waiting = await world.ready(above, reason="WaitingForDependency")
    since = waiting["status"]["waiting"]["since"]
    async with world.operator():
        live = await world.ready(above, reason="DependencyNotMet", message="below ^1")
        assert kstatus(live) == "Failed"
        assert live["status"]["waiting"]["since"] == since
        await world.api.create(package("org-vain", "below", "1.2.0", below={}))
        live = await world.ready(above, status="True")
    assert "waiting" not in live["status"]


async def test_two_packages_roll_out_at_the_same_time_each_by_its_own_steps(
    operated: World,
) -> None:
    await operated.active("racing")
    first = [package("org-racing", name, "1.0.0", **{name: {}}) for name in ("a", "b")]
    for manifest in first:
        await operated.api.create(manifest)
    for manifest in first:
        await operated.ready(manifest, status="True")
    operated.runtime.unhealthy.add("2.0.1")
    for name, number in (("a", "2.0.0"), ("b", "2.0.1")):
        second = package("org-racing", name, number, **{name: {"instructions": "new"}})
        second["spec"]["healthChecks"] = CHECKS
        await asks_for(operated, second)
    await operated.ready(package("org-racing", "a", "2.0.0"), status="True")
    await operated.ready(package("org-racing", "b", "2.0.1"), reason="HealthCheckFailed")
    await until_loaded(operated, "org-racing", {"a 2.0.0": 100, "b 1.0.0": 100})


async def test_an_operator_that_starts_in_the_middle_goes_on_from_the_step(world: World) -> None:
    async with world.operator():
        await in_service(world, "middle")
        second = version("middle", "2.0.0", rollout=HOLDING)
        await asks_for(world, second)
        shares = {"support 1.0.0": 95, "support 2.0.0": 5}
        await until_loaded(world, "org-middle", shares)
        await world.ready(second, reason="WaitingForApproval")
        await world.reported("middle", status="True")
        before = await world.quiet("middle")
    asked = world.runtime.asked

    async def asked_again() -> bool:
        return world.runtime.asked > asked

    async with world.operator():
        await until(asked_again, "the new operator asked the runtime")
        await world.ready(second, reason="WaitingForApproval")
        assert world.written("middle", before) == []
        await annotated(world, second, "approve-step", "1")
        await world.ready(second, status="True")


async def test_a_status_that_was_lost_is_found_again_without_an_outage(world: World) -> None:
    async with world.operator():
        await in_service(world, "forgetful")
    first = version("forgetful", "1.0.0")
    path = f"{path_of(first)}/status"
    await world.api.expect(
        "PATCH",
        path,
        [{"op": "replace", "path": "/status", "value": {"observedGeneration": -1}}],
        "application/json-patch+json",
    )
    async with world.operator():
        await world.ready(first, status="True")
    assert loaded(world, "org-forgetful") == {"support 1.0.0": 100}
    configs = [line for line in world.writes() if "org-forgetful/configmaps/runtime-config" in line]
    assert len(configs) <= 3


async def test_content_may_lie_in_a_config_map_of_the_namespace(operated: World) -> None:
    await operated.active("bundle")
    bundle = PackageDocument.of("support", "1.0.0", (Agent(name="bundled"),))
    source = {"configMap": {"name": "bundle"}}
    manifest = version("bundle", "1.0.0", agents=[], source=source)
    await operated.api.create(manifest)
    await operated.ready(manifest, reason="SourceNotFound", message="'bundle'")
    damaged = bundle.model_copy(update={"agents": (Agent(name="other"),)})
    maps = "/api/v1/namespaces/org-bundle/configmaps"
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "bundle"},
        "data": {"package.json": damaged.written()},
    }
    await operated.api.expect("POST", maps, body)
    await operated.ready(manifest, reason="SourceInvalid", message="checksum")
    await operated.api.merge(f"{maps}/bundle", {"data": {"package.json": bundle.written()}})
    await operated.ready(manifest, status="True")
    (pod,) = [pod for pod in operated.runtime.pods.values() if pod.namespace == "org-bundle"]
    assert [one.name for one in pod.documents["support", "1.0.0"].agents] == ["bundled"]
