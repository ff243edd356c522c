"""Packages with an image of their own against a real API server: pods, rollouts, what is left."""

from typing import Any

from tests.integration.reconcile.conftest import World, condition_of, organization, package
from tests.integration.reconcile.test_reconcile_packages import until_loaded
from tests.integration.reconcile.test_reconcile_rollouts import asks_for
from tests.support.api_observer import Object, path_of
from tests.support.deadline import until
from tests.support.kstatus import kstatus

ROOM = {"pods": 6, "memoryMB": 2048, "cpuMillicores": 2000}


def imaged(name: str, number: str, **spec: Any) -> Object:
    """Return the package `parcels` of an organization in one version, which has an image."""
    manifest = package(f"org-{name}", "parcels", number, parcels={})
    image = {"reference": f"registry.example.com/agents/parcels:{number}"}
    manifest["spec"] |= {"image": image, **spec}
    return manifest


async def active(world: World, name: str) -> None:
    await world.active(name, limits={"packages": ROOM})


async def deployments(world: World, name: str) -> dict[str, Object]:
    """Return the Deployments of versions with an image, by version."""
    items = await world.api.items(f"/apis/apps/v1/namespaces/org-{name}/deployments")
    found = [one for one in items if one["metadata"]["name"].startswith("package-")]
    return {one["metadata"]["annotations"]["bulkhead.dev/package-version"]: one for one in found}


async def until_running(world: World, name: str, *versions: str) -> dict[str, Object]:
    """Wait until exactly these versions have a Deployment."""
    found: dict[str, Object] = {}

    async def right() -> bool:
        found.clear()
        found.update(await deployments(world, name))
        return set(found) == set(versions)

    await until(right, f"{versions} have Deployments, {set(found)} had")
    return found


async def pod_of(world: World, name: str, number: str) -> Object:
    """Wait for the first pod of a version."""
    deployment = (await deployments(world, name))[number]["metadata"]["name"]
    found: list[Object] = []

    async def there() -> bool:
        items = await world.api.items(f"/api/v1/namespaces/org-{name}/pods")
        found[:] = [
            one
            for one in items
            if one["metadata"]["labels"].get("bulkhead.dev/package-pods") == deployment
        ]
        return bool(found)

    await until(there, f"{deployment} has a pod")
    return found[0]


async def written(world: World, pod: Object, **status: Any) -> None:
    """Write a pod's status as a kubelet does."""
    metadata = pod["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
    await world.api.merge(path, {"status": {"phase": "Running", **status}})


async def starts(world: World, name: str, number: str) -> None:
    """Let the pods of a version become ready."""
    pod = await pod_of(world, name, number)
    await written(world, pod, conditions=[{"type": "Ready", "status": "True"}])


async def crashes(world: World, name: str, number: str) -> None:
    """Let the pod of a version crash again and again."""
    container = {
        "name": "package",
        "image": "a",
        "imageID": "",
        "ready": False,
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 7, "reason": "Error"}},
    }
    await written(world, await pod_of(world, name, number), containerStatuses=[container])


async def in_service(world: World, name: str) -> None:
    """Bring an organization up that serves version 1.0.0 of an image."""
    await active(world, name)
    first = imaged(name, "1.0.0")
    await world.api.create(first)
    await until_running(world, name, "1.0.0")
    await starts(world, name, "1.0.0")
    await world.ready(first, status="True")


async def test_a_version_takes_over_once_its_own_pods_are_ready(operated: World) -> None:
    await active(operated, "own")
    first = imaged("own", "1.0.0")
    await operated.api.create(first)
    await until_running(operated, "own", "1.0.0")
    waiting = await operated.ready(first, reason="Loading")
    assert kstatus(waiting) == "InProgress"
    await until_loaded(operated, "org-own", {"parcels 1.0.0": 0})
    await starts(operated, "own", "1.0.0")
    live = await operated.ready(first, status="True")
    assert condition_of(live, "Healthy")["reason"] == "ChecksPassed"
    (pod,) = [one for one in operated.runtime.pods.values() if one.namespace == "org-own"]
    assert pod.config is not None
    (route,) = pod.config.routes[0].versions
    (deployment,) = (await deployments(operated, "own")).values()
    assert route.endpoint == f"http://{deployment['metadata']['name']}:80"


async def test_versions_run_side_by_side_until_the_last_session_of_the_former_has_ended(
    operated: World,
) -> None:
    await in_service(operated, "both")
    operated.runtime.sessions["parcels", "1.0.0"] = 1
    second = imaged("both", "2.0.0")
    await asks_for(operated, second)
    await until_running(operated, "both", "1.0.0", "2.0.0")
    await starts(operated, "both", "2.0.0")
    await operated.ready(second, status="True")
    await until_loaded(operated, "org-both", {"parcels 1.0.0": 0, "parcels 2.0.0": 100})
    assert set(await deployments(operated, "both")) == {"1.0.0", "2.0.0"}
    operated.runtime.sessions.clear()
    await until_loaded(operated, "org-both", {"parcels 2.0.0": 100})
    await until_running(operated, "both", "2.0.0")


async def test_a_version_whose_image_crashes_again_and_again_is_taken_back(
    operated: World,
) -> None:
    await in_service(operated, "explosive")
    second = imaged("explosive", "2.0.0")
    await asks_for(operated, second)
    await until_running(operated, "explosive", "1.0.0", "2.0.0")
    await crashes(operated, "explosive", "2.0.0")
    live = await operated.ready(second, reason="CrashLoop", message="exit code 7")
    assert kstatus(live) == "Failed"
    assert live["status"]["version"] == "1.0.0"
    await until_loaded(operated, "org-explosive", {"parcels 1.0.0": 100})
    await until_running(operated, "explosive", "1.0.0")


async def test_pods_stay_until_no_runtime_sends_anybody_to_them(operated: World) -> None:
    await in_service(operated, "leisurely")
    second = imaged("leisurely", "2.0.0")
    await asks_for(operated, second)
    await until_running(operated, "leisurely", "1.0.0", "2.0.0")
    await until_loaded(operated, "org-leisurely", {"parcels 1.0.0": 100, "parcels 2.0.0": 0})
    operated.runtime.syncs = False
    await crashes(operated, "leisurely", "2.0.0")
    await operated.ready(second, reason="RollingBack")
    asked = operated.runtime.asked

    async def asked_again() -> bool:
        return operated.runtime.asked > asked + 2

    await until(asked_again, "the runtime was asked for what it follows")
    assert set(await deployments(operated, "leisurely")) == {"1.0.0", "2.0.0"}
    operated.runtime.syncs = True
    await operated.ready(second, reason="CrashLoop")
    await until_running(operated, "leisurely", "1.0.0")


async def test_a_version_that_fails_its_images_health_check_is_taken_back(
    operated: World,
) -> None:
    await in_service(operated, "ill")
    operated.runtime.unhealthy.add("2.0.0")
    second = imaged("ill", "2.0.0")
    await asks_for(operated, second)
    await until_running(operated, "ill", "1.0.0", "2.0.0")
    await starts(operated, "ill", "2.0.0")
    live = await operated.ready(second, reason="HealthCheckFailed")
    assert live["status"]["version"] == "1.0.0"
    await until_running(operated, "ill", "1.0.0")


async def test_an_image_without_room_never_runs(operated: World) -> None:
    await operated.active("cramped")
    manifest = imaged("cramped", "1.0.0")
    await operated.api.create(manifest)
    live = await operated.ready(manifest, reason="NoRoomForImage")
    assert "spec.limits.packages.pods" in condition_of(live, "Stalled")["message"]
    assert await deployments(operated, "cramped") == {}


async def test_what_belongs_to_an_image_is_repaired(operated: World) -> None:
    await in_service(operated, "mended")
    (deployment,) = (await deployments(operated, "mended")).values()
    name = deployment["metadata"]["name"]
    policy = f"/apis/networking.k8s.io/v1/namespaces/org-mended/networkpolicies/{name}"
    service = f"/api/v1/namespaces/org-mended/services/{name}"
    await operated.api.merge(policy, {"spec": {"ingress": [{}]}})
    before = (await operated.api.get(service) or {})["metadata"]["uid"]
    await operated.api.expect("DELETE", service)

    async def repaired() -> bool:
        live, made = await operated.api.get(policy), await operated.api.get(service)
        closed = live is not None and "from" in live["spec"]["ingress"][0]
        return closed and made is not None and made["metadata"]["uid"] != before

    await until(repaired, "policy and Service are as they were")


async def test_a_package_that_is_deleted_takes_its_pods_along(operated: World) -> None:
    await in_service(operated, "leaving")
    (deployment,) = (await deployments(operated, "leaving")).values()
    await operated.api.expect("DELETE", path_of(imaged("leaving", "1.0.0")))
    name = deployment["metadata"]["name"]
    await operated.gone(f"/apis/apps/v1/namespaces/org-leaving/deployments/{name}")
    await operated.gone(f"/api/v1/namespaces/org-leaving/services/{name}")
    access = "/apis/networking.k8s.io/v1/namespaces/org-leaving/networkpolicies/package-access"
    await operated.gone(access)
    assert await operated.api.get("/apis/apps/v1/namespaces/org-leaving/deployments/runtime")


async def test_an_organization_that_goes_stops_its_runtime_before_the_images_it_asks(
    operated: World,
) -> None:
    await in_service(operated, "going")
    (deployment,) = (await deployments(operated, "going")).values()
    before = len(operated.writes())
    await operated.api.expect("DELETE", path_of(organization("going")))
    await operated.gone(path_of(organization("going")))
    # Asked for again where another look comes before the watch has told that it is going.
    deleted = dict.fromkeys(
        write.rpartition("/")[2]
        for write in operated.written("going", before)
        if write.startswith("delete")
    )
    assert list(deleted) == ["runtime", deployment["metadata"]["name"], "org-going"]


async def test_a_second_look_writes_nothing(operated: World) -> None:
    await in_service(operated, "unmoved")
    before = await operated.quiet("unmoved")
    resync = {"metadata": {"annotations": {"example.com/touched": "1"}}}
    await operated.api.merge(path_of(imaged("unmoved", "1.0.0")), resync)
    asked = operated.runtime.asked

    async def looked() -> bool:
        return operated.runtime.asked > asked

    await until(looked, "the organization was looked at again")
    assert operated.written("unmoved", before) == []
