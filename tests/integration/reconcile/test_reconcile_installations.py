"""Installation steps: a Job of the organization, before anybody talks to the version."""

from typing import Any, Final, Literal

from tests.integration.reconcile.bad_packages import version
from tests.integration.reconcile.conftest import World, condition_of
from tests.integration.reconcile.test_reconcile_packages import loaded, until_loaded
from tests.integration.reconcile.test_reconcile_rollouts import annotated, asks_for, in_service
from tests.support.api_observer import OURS, Object
from tests.support.deadline import until
from tests.support.kstatus import kstatus

CRM: Final = [{"name": "crm", "version": "3.1.0"}]
COMMAND: Final = ["python", "-c", "print('$(ready)')"]


def installing(name: str, number: str, **spec: Any) -> Object:
    """Return a version that has to prepare the organization's CRM."""
    step = {"command": COMMAND, "timeoutSeconds": 60}
    need = {"type": "Integration", "name": "crm", "version": "^3", "installation": step}
    return version(name, number, dependencies=[need], **spec)


async def in_service_with_crm(world: World, name: str) -> None:
    await in_service(world, name)
    await world.api.merge(f"{OURS}/organizationruntimes/{name}", {"spec": {"integrations": CRM}})


async def jobs(world: World, name: str) -> list[Object]:
    """Return the Jobs of an organization."""
    return await world.api.items(f"/apis/batch/v1/namespaces/org-{name}/jobs")


async def the_job(world: World, name: str) -> Object:
    """Wait for the Job of an organization: its name is told before it is made."""
    found: list[Object] = []

    async def made() -> bool:
        found[:] = await jobs(world, name)
        return bool(found)

    await until(made, f"a Job of {name}")
    (job,) = found
    return job


async def ends(world: World, name: str, phase: Literal["Succeeded", "Failed"]) -> None:
    """Wait for the pod of a Job and let it end."""

    async def ended() -> bool:
        return await world.runtime.end_installation(f"org-{name}", phase)

    await until(ended, "a pod of the installation")


async def fails(world: World, name: str) -> None:
    """Let every attempt of the Job fail."""

    async def failed() -> bool:
        await world.runtime.end_installation(f"org-{name}", "Failed")
        return any(
            one["type"] == "Failed"
            for job in await jobs(world, name)
            for one in job.get("status", {}).get("conditions", ())
        )

    await until(failed, "the Job failed for good")


async def test_a_version_gets_sessions_once_its_installation_has_ended_well(
    operated: World,
) -> None:
    await in_service_with_crm(operated, "prepared")
    second = installing("prepared", "2.0.0")
    await asks_for(operated, second)
    waiting = await operated.ready(second, reason="Loading", message="installation, Job install-")
    assert kstatus(waiting) == "InProgress"
    job = await the_job(operated, "prepared")
    pod = job["spec"]["template"]["spec"]
    assert (pod["automountServiceAccountToken"], pod["restartPolicy"]) == (False, "Never")
    assert pod["containers"][0]["command"] == [*COMMAND[:2], "print('$$(ready)')"]
    assert [volume["name"] for volume in pod["volumes"]] == ["scratch"]
    policies = "/apis/networking.k8s.io/v1/namespaces/org-prepared/networkpolicies"
    await operated.there(f"{policies}/{job['metadata']['name']}")
    assert loaded(operated, "org-prepared")["support 1.0.0"] == 100
    await ends(operated, "prepared", "Succeeded")
    await operated.ready(second, status="True", message="2.0.0")
    await operated.gone(f"{policies}/{job['metadata']['name']}")


async def test_an_installation_that_fails_keeps_the_former_version_in_service(
    operated: World,
) -> None:
    await in_service_with_crm(operated, "unprepared")
    second = installing("unprepared", "2.0.0")
    await asks_for(operated, second)
    await fails(operated, "unprepared")
    live = await operated.ready(second, reason="InstallationFailed", message="kubectl logs")
    assert condition_of(live, "Resolved")["status"] == "False"
    assert live["status"]["version"] == "1.0.0"
    assert live["status"]["history"][0]["outcome"] == "InstallationFailed"
    await until_loaded(operated, "org-unprepared", {"support 1.0.0": 100})
    await annotated(operated, second, "retry", "1")
    await ends(operated, "unprepared", "Succeeded")
    await operated.ready(second, status="True", message="2.0.0")
    assert len(await jobs(operated, "unprepared")) == 2


async def test_what_was_installed_is_not_installed_again_when_a_check_made_it_fail(
    operated: World,
) -> None:
    await in_service_with_crm(operated, "once")
    operated.runtime.unhealthy.add("2.0.0")
    checks = [{"name": "answers", "http": {"url": "https://a.example.com/health"}}]
    second = installing("once", "2.0.0", healthChecks=checks)
    await asks_for(operated, second)
    await ends(operated, "once", "Succeeded")
    await operated.ready(second, reason="HealthCheckFailed")
    operated.runtime.unhealthy.clear()
    await annotated(operated, second, "retry", "1")
    await operated.ready(second, status="True", message="2.0.0")
    assert len(await jobs(operated, "once")) == 1


async def test_an_operator_that_starts_in_the_middle_runs_nothing_twice(world: World) -> None:
    async with world.operator():
        await in_service_with_crm(world, "resumed")
        second = installing("resumed", "2.0.0")
        await asks_for(world, second)
        await world.ready(second, reason="Loading", message="installation, Job install-")
        before = await the_job(world, "resumed")
    async with world.operator():
        await ends(world, "resumed", "Succeeded")
        await world.ready(second, status="True", message="2.0.0")
    (after,) = await jobs(world, "resumed")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_a_version_that_nobody_asks_for_any_more_is_not_installed_to_its_end(
    operated: World,
) -> None:
    await in_service_with_crm(operated, "dropped")
    second = installing("dropped", "2.0.0")
    await asks_for(operated, second)
    await operated.ready(second, reason="Loading", message="installation, Job install-")
    job = await the_job(operated, "dropped")
    third = version("dropped", "3.0.0", dependencies=[])
    await asks_for(operated, third)
    await operated.ready(third, status="True", message="3.0.0")
    await operated.gone(f"/apis/batch/v1/namespaces/org-dropped/jobs/{job['metadata']['name']}")
