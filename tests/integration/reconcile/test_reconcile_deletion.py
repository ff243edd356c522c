"""Shutting an organization down: pods first, then what the policy says, and nothing else."""

from tests.integration.reconcile.conftest import World, organization, package
from tests.support.api_observer import Object, path_of
from tests.support.deadline import until

ANNOTATION = "bulkhead.dev/organization"
RUNTIME_KINDS = (
    "/api/v1/namespaces/{}/services",
    "/api/v1/namespaces/{}/resourcequotas",
    "/api/v1/namespaces/{}/limitranges",
    "/apis/apps/v1/namespaces/{}/deployments",
    "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "/apis/apps/v1/namespaces/{}/controllerrevisions",
)


async def left(world: World, namespace: str) -> list[str]:
    """Return what of the runtime is left in a namespace."""
    found: list[str] = []
    for template in RUNTIME_KINDS:
        items = await world.api.items(template.format(namespace))
        kind = template.rpartition("/")[2]
        found.extend(f"{kind}/{item['metadata']['name']}" for item in items)
    return found


async def test_delete_takes_the_namespace_that_the_operator_made(operated: World) -> None:
    await operated.active("bye")
    await operated.api.expect("DELETE", path_of(organization("bye")))
    await operated.gone(path_of(organization("bye")))
    assert await operated.api.get("/api/v1/namespaces/org-bye") is None


async def test_the_pods_are_gone_before_their_data_and_network_go(operated: World) -> None:
    await operated.active("orderly")
    before = len(operated.writes())
    await operated.api.expect("DELETE", path_of(organization("orderly")))
    await operated.gone(path_of(organization("orderly")))
    # Asked for again where another look comes before the watch has told that it is going.
    deletes = dict.fromkeys(
        write for write in operated.written("orderly", before) if write.startswith("delete")
    )
    assert [write.rpartition("/")[2] for write in deletes] == ["runtime", "org-orderly"]
    assert "/deployments/" in next(iter(deletes))


async def test_retain_leaves_volume_key_and_namespace_and_lets_them_be_adopted(
    operated: World,
) -> None:
    live = await operated.active("heir", deletionPolicy="Retain")
    await operated.api.expect("DELETE", path_of(organization("heir")))
    await operated.gone(path_of(organization("heir")))
    namespace = await operated.api.expect("GET", "/api/v1/namespaces/org-heir")
    assert namespace["metadata"]["uid"] == live["status"]["namespaceUID"]
    assert await left(operated, "org-heir") == []
    volume = "/api/v1/namespaces/org-heir/persistentvolumeclaims/runtime-data"
    key = "/api/v1/namespaces/org-heir/secrets/runtime-api-key"
    kept = [await operated.api.expect("GET", path) for path in (volume, key)]
    assert await operated.api.get("/api/v1/namespaces/org-heir/secrets/runtime-internal") is None
    await operated.organization("heir", namespace="org-heir")
    await operated.reported("heir", reason="WaitingForPods")
    again = [await operated.api.expect("GET", path) for path in (volume, key)]
    assert [one["metadata"]["uid"] for one in again] == [one["metadata"]["uid"] for one in kept]
    assert again[1]["data"] == kept[1]["data"]


async def test_an_adopted_namespace_loses_what_is_ours_and_keeps_what_is_its_owners(
    operated: World,
) -> None:
    await operated.api.namespace("lent", {ANNOTATION: "guest"})
    mine: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}}
    await operated.api.expect("POST", "/api/v1/namespaces/lent/configmaps", mine)
    await operated.active("guest", namespace="lent")
    manifest = package("lent", "support", "1.0.0", helper={})
    await operated.api.create(manifest)
    await operated.ready(manifest, status="True")
    await operated.api.expect("DELETE", path_of(organization("guest")))
    await operated.gone(path_of(organization("guest")))
    assert await left(operated, "lent") == []
    assert await operated.api.items("/api/v1/namespaces/lent/persistentvolumeclaims") == []
    assert await operated.api.items("/api/v1/namespaces/lent/secrets") == []
    assert await operated.api.get("/api/v1/namespaces/lent/configmaps/mine") is not None
    await operated.ready(manifest, reason="NoOrganization")


async def test_nothing_is_waited_for_that_never_was(operated: World) -> None:
    await operated.organization("unborn", namespace="never-made")
    await operated.reported("unborn", reason="NamespaceNotFound")
    await operated.api.expect("DELETE", path_of(organization("unborn")))
    await operated.gone(path_of(organization("unborn")))


async def test_a_refused_namespace_is_not_touched_by_the_deletion(operated: World) -> None:
    before = await operated.api.namespace("org-foreign")
    await operated.organization("foreign")
    await operated.reported("foreign", reason="NamespaceNotOurs")
    await operated.api.expect("DELETE", path_of(organization("foreign")))
    await operated.gone(path_of(organization("foreign")))
    after = await operated.api.expect("GET", "/api/v1/namespaces/org-foreign")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_namespace_deleted_under_the_operator_does_not_hold_up_the_deletion(
    world: World,
) -> None:
    async with world.operator():
        await world.active("swept")
    await world.api.expect("DELETE", path_of(organization("swept")))
    await world.api.expect("DELETE", "/api/v1/namespaces/org-swept")
    await world.gone("/api/v1/namespaces/org-swept")
    async with world.operator():
        await world.gone(path_of(organization("swept")))


async def test_an_organization_that_is_going_says_what_it_waits_for(operated: World) -> None:
    await operated.active("lingering")
    (pod,) = [pod for pod in operated.runtime.pods.values() if pod.namespace == "org-lingering"]
    path = f"/api/v1/namespaces/org-lingering/pods/{pod.name}"
    held = {"metadata": {"finalizers": ["example.com/drains"]}}
    await operated.api.merge(path, held)
    await operated.api.expect("DELETE", path_of(organization("lingering")))

    async def terminating() -> bool:
        live = await operated.read("lingering")
        return bool(live["status"].get("state") == "terminating")

    await until(terminating, "status says that it is terminating")
    assert await operated.api.get("/api/v1/namespaces/org-lingering/services/runtime") is not None
    await operated.api.merge(path, {"metadata": {"finalizers": None}})
    await operated.gone(path_of(organization("lingering")))
