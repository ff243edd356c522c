"""Versions of packages: side by side, never broken by a broken one."""

from collections.abc import Callable

import pytest

from tests.integration.reconcile.conftest import World, condition_of, organization, package
from tests.support.api_observer import Object, path_of
from tests.support.deadline import until

REVISIONS = "/apis/apps/v1/namespaces/{}/controllerrevisions"


async def replace_spec(world: World, manifest: Object) -> None:
    """Change a package as `kubectl apply` does."""
    await world.api.merge(path_of(manifest), {"spec": manifest["spec"]})


def loaded(world: World, namespace: str) -> dict[str, int]:
    """Return what the namespace's runtime has loaded: package and version with their weight."""
    (pod,) = [pod for pod in world.runtime.pods.values() if pod.namespace == namespace]
    assert pod.config is not None
    return {
        f"{route.package} {version.version}": version.weight
        for route in pod.config.routes
        for version in route.versions
    }


async def until_loaded(world: World, namespace: str, wanted: dict[str, int]) -> None:
    async def right() -> bool:
        return loaded(world, namespace) == wanted

    await until(right, f"{namespace} has loaded {wanted}")


async def test_a_package_is_in_service_once_the_runtime_routes_to_it(operated: World) -> None:
    await operated.active("pack")
    manifest = package("org-pack", "support", "1.0.0", helper={}, writer={})
    await operated.api.create(manifest)
    live = await operated.ready(manifest, status="True")
    assert live["status"]["organization"] == "pack"
    assert live["status"]["version"] == "1.0.0"
    assert live["status"]["checksum"].startswith("sha256:")
    assert live["status"]["versions"] == [{"version": "1.0.0", "weight": 100}]
    assert (await operated.reported("pack", status="True"))["status"]["activeAgents"] == 2


async def test_a_new_version_is_loaded_beside_the_one_that_still_has_sessions(
    operated: World,
) -> None:
    await operated.active("beside")
    first = package("org-beside", "support", "1.0.0", helper={})
    await operated.api.create(first)
    await operated.ready(first, status="True", message="1.0.0")
    operated.runtime.sessions["support", "1.0.0"] = 3
    second = package("org-beside", "support", "2.0.0", helper={"instructions": "better"})
    await replace_spec(operated, second)
    await until_loaded(operated, "org-beside", {"support 1.0.0": 0, "support 2.0.0": 100})
    live = await operated.ready(second, status="True")
    assert {one["version"]: one["weight"] for one in live["status"]["versions"]} == {
        "1.0.0": 0,
        "2.0.0": 100,
    }
    operated.runtime.sessions["support", "1.0.0"] = 0
    await until_loaded(operated, "org-beside", {"support 2.0.0": 100})
    history = await operated.api.items(REVISIONS.format("org-beside"))
    assert sorted(one["revision"] for one in history) == [1, 2]


async def test_a_former_version_survives_a_restart_of_the_operator(world: World) -> None:
    async with world.operator():
        await world.active("kept")
        first = package("org-kept", "support", "1.0.0", helper={})
        await world.api.create(first)
        await world.ready(first, status="True", message="1.0.0")
        world.runtime.sessions["support", "1.0.0"] = 1
        second = package("org-kept", "support", "2.0.0", helper={"instructions": "better"})
        await replace_spec(world, second)
        await world.ready(second, status="True", message="2.0.0")
        await world.reported("kept", status="True")
        before = await world.quiet("kept")
    asked = world.runtime.asked

    async def asked_again() -> bool:
        return world.runtime.asked > asked + 1

    async with world.operator():
        await until(asked_again, "the new operator asked the runtime twice")
    assert world.written("kept", before) == []
    assert loaded(world, "org-kept") == {"support 1.0.0": 0, "support 2.0.0": 100}


async def test_a_version_that_comes_back_is_the_newest_of_the_history(operated: World) -> None:
    await operated.active("back")
    first = package("org-back", "support", "1.0.0", helper={})
    await operated.api.create(first)
    await operated.ready(first, status="True")
    second = package("org-back", "support", "2.0.0", helper={"instructions": "worse"})
    await replace_spec(operated, second)
    await operated.ready(second, status="True")
    await operated.api.merge(
        path_of(first), {"spec": {"version": "1.0.0", "agents": [{"name": "helper"}]}}
    )
    await operated.ready(first, status="True", message="1.0.0")
    history = await operated.api.items(REVISIONS.format("org-back"))
    numbers = {one["data"]["version"]: one["revision"] for one in history}
    assert numbers == {"1.0.0": 3, "2.0.0": 2}


BROKEN: tuple[tuple[str, str, Callable[[str], Object], str], ...] = (
    (
        "unknown-provider",
        "UnknownProvider",
        lambda namespace: package(namespace, "support", "2.0.0", helper={"model": "nobody/x"}),
        "provider 'nobody'",
    ),
    (
        "name-conflict",
        "NameConflict",
        lambda namespace: package(namespace, "support", "2.0.0", elder={}),
        "AgentPackage 'aaa'",
    ),
)


@pytest.mark.parametrize(
    ("name", "reason", "broken", "says"), BROKEN, ids=[case[0] for case in BROKEN]
)
async def test_a_broken_version_leaves_the_good_one_in_service(
    operated: World, name: str, reason: str, broken: Callable[[str], Object], says: str
) -> None:
    namespace = f"org-{name}"
    await operated.active(name)
    await operated.api.create(package(namespace, "aaa", "1.0.0", elder={}))
    await until_loaded(operated, namespace, {"aaa 1.0.0": 100})
    good = package(namespace, "support", "1.0.0", helper={})
    await operated.api.create(good)
    await operated.ready(good, status="True", message="1.0.0")
    manifest = broken(namespace)
    await replace_spec(operated, manifest)
    live = await operated.ready(manifest, reason=reason, message=says)
    assert condition_of(live, "Stalled")["status"] == "True"
    assert live["status"]["state"] == "degraded"
    assert live["status"]["version"] == "1.0.0"
    assert loaded(operated, namespace) == {"aaa 1.0.0": 100, "support 1.0.0": 100}
    other = package(namespace, "other", "1.0.0", third={})
    await operated.api.create(other)
    await operated.ready(other, status="True")


async def test_the_same_version_with_other_content_is_refused_later_too(operated: World) -> None:
    await operated.active("frozen")
    first = package("org-frozen", "support", "1.0.0", helper={})
    await operated.api.create(first)
    await operated.ready(first, status="True")
    second = package("org-frozen", "support", "2.0.0", helper={"instructions": "b"})
    await replace_spec(operated, second)
    await operated.ready(second, status="True")
    changed = package("org-frozen", "support", "1.0.0", helper={"instructions": "c"})
    await replace_spec(operated, changed)
    await operated.ready(changed, reason="VersionContentChanged", message="new version")
    assert loaded(operated, "org-frozen")["support 2.0.0"] == 100


async def test_a_version_that_the_runtime_refuses_does_not_hold_up_the_rest(
    operated: World,
) -> None:
    await operated.active("picky")
    first = package("org-picky", "support", "1.0.0", helper={})
    await operated.api.create(first)
    await operated.ready(first, status="True")
    operated.runtime.refuse.add("package_support_2.0.0.json")
    second = package("org-picky", "support", "2.0.0", helper={"instructions": "bad"})
    await replace_spec(operated, second)
    await operated.ready(second, reason="RefusedByRuntime")
    await operated.reported("picky", status="True")
    await until_loaded(operated, "org-picky", {"support 1.0.0": 100})


async def test_packages_that_need_more_than_one_map_are_all_loaded(operated: World) -> None:
    await operated.active("large")
    text = "x" * 16384
    for number in range(4):
        agents = {f"agent-{number}-{index}": {"instructions": text} for index in range(16)}
        await operated.api.create(package("org-large", f"big-{number}", "1.0.0", **agents))
    wanted = {f"big-{number} 1.0.0": 100 for number in range(4)}
    await until_loaded(operated, "org-large", wanted)
    maps = await operated.api.items("/api/v1/namespaces/org-large/configmaps")
    names = [one["metadata"]["name"] for one in maps]
    assert "runtime-packages-1" in names

    async def all_agents() -> bool:
        # The status follows what was loaded; the organization is ready meanwhile.
        live = await operated.reported("large", status="True")
        return bool(live["status"]["activeAgents"] == 64)

    await until(all_agents, "all agents are counted")


async def test_the_pool_reports_rounded_usage(operated: World) -> None:
    await operated.active("usage")
    operated.runtime.usage = operated.runtime.usage.model_copy(
        update={"used_bytes": 3 * 2**20 + 1, "sessions": 1234}
    )
    manifest: Object = {
        "kind": "MemoryPool",
        "metadata": {"name": "default", "namespace": "org-usage"},
    }

    async def reported() -> bool:
        live = await operated.api.get(path_of(manifest))
        return live is not None and live["status"].get("usedMB") == 4

    await until(reported, "usage is reported")
    live = await operated.ready(manifest, status="True")
    assert (live["status"]["usedPercent"], live["status"]["sessions"]) == (1, 1200)


async def test_a_pool_larger_than_the_volume_is_stalled(operated: World) -> None:
    await operated.organization("tight", storage={"sizeMB": 64})
    await operated.reported("tight", reason="WaitingForPods")
    manifest: Object = {
        "kind": "MemoryPool",
        "metadata": {"name": "default", "namespace": "org-tight"},
    }
    await operated.api.merge(path_of(manifest), {"spec": {"maxMemoryMB": 65}})
    await operated.ready(manifest, reason="PoolTooLarge", message="65")


async def test_a_stubborn_kubelet_is_touched_until_it_syncs(operated: World) -> None:
    await operated.active("stubborn")
    operated.runtime.syncs = False
    change = {"spec": {"limits": {"rateLimitPerMinute": 9}}}
    await operated.api.merge(path_of(organization("stubborn")), change)
    await operated.reported("stubborn", reason="WaitingForRuntime")
    operated.runtime.syncs = True
    await operated.reported("stubborn", status="True")


async def test_a_pod_that_starts_with_half_of_its_files_is_touched_until_it_has_all(
    operated: World,
) -> None:
    await operated.organization("halfway")
    await operated.reported("halfway", reason="WaitingForPods")
    manifest = package("org-halfway", "support", "1.0.0", helper={})
    await operated.api.create(manifest)
    await operated.there("/api/v1/namespaces/org-halfway/configmaps/runtime-packages-0")
    operated.runtime.refuse.add("package_support_1.0.0.json")
    operated.runtime.ready_without_configuration = False
    await operated.run_pods("org-halfway")
    operated.runtime.refuse.clear()
    # Nothing but a touch makes the stand-in look at its files again.
    await operated.ready(manifest, status="True")
