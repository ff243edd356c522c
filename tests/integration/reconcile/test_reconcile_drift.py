"""What is changed or deleted by hand comes back, whatever it is."""

from collections.abc import Callable
from typing import Any

from tests.integration.reconcile.conftest import World, organization, package
from tests.support.api_observer import Object, path_of
from tests.support.deadline import until

CHILDREN = (
    "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings/bulkhead-operator",
    "/api/v1/namespaces/{}/serviceaccounts/runtime",
    "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies/default-deny",
    "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies/runtime",
    "/api/v1/namespaces/{}/resourcequotas/runtime",
    "/api/v1/namespaces/{}/limitranges/runtime",
    "/api/v1/namespaces/{}/configmaps/runtime-config",
    "/api/v1/namespaces/{}/configmaps/runtime-packages-0",
    "/api/v1/namespaces/{}/services/runtime",
    "/apis/policy/v1/namespaces/{}/poddisruptionbudgets/runtime",
    "/apis/apps/v1/namespaces/{}/deployments/runtime",
)

POLICIES = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"
DEPLOYMENT = "/apis/apps/v1/namespaces/{}/deployments/runtime"
EDITS: tuple[tuple[str, Object, Callable[[Any], object]], ...] = (
    (
        "/api/v1/namespaces/{}",
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}},
        lambda live: live["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
    ),
    (
        "/api/v1/namespaces/{}/serviceaccounts/runtime",
        {"automountServiceAccountToken": True},
        lambda live: live["automountServiceAccountToken"],
    ),
    (
        f"{POLICIES}/default-deny",
        {"spec": {"policyTypes": ["Ingress"]}},
        lambda live: live["spec"]["policyTypes"],
    ),
    (
        f"{POLICIES}/default-deny",
        {"spec": {"podSelector": {"matchLabels": {"nobody": "here"}}}},
        lambda live: live["spec"]["podSelector"],
    ),
    (
        f"{POLICIES}/default-deny",
        {"spec": {"egress": [{}]}},
        lambda live: live["spec"].get("egress"),
    ),
    (f"{POLICIES}/runtime", {"spec": {"egress": [{}]}}, lambda live: live["spec"]["egress"]),
    (
        "/api/v1/namespaces/{}/resourcequotas/runtime",
        {"spec": {"hard": {"limits.cpu": "100"}}},
        lambda live: live["spec"]["hard"]["limits.cpu"],
    ),
    (
        "/api/v1/namespaces/{}/limitranges/runtime",
        {"spec": {"limits": []}},
        lambda live: live["spec"].get("limits"),
    ),
    (
        "/api/v1/namespaces/{}/configmaps/runtime-config",
        {"data": {"config.json": "{}"}},
        lambda live: live["data"]["config.json"],
    ),
    (
        "/api/v1/namespaces/{}/services/runtime",
        {"spec": {"selector": {"app.kubernetes.io/name": "other"}}},
        lambda live: live["spec"]["selector"],
    ),
    (
        "/apis/policy/v1/namespaces/{}/poddisruptionbudgets/runtime",
        {"spec": {"maxUnavailable": 0}},
        lambda live: live["spec"]["maxUnavailable"],
    ),
    (DEPLOYMENT, {"spec": {"replicas": 0}}, lambda live: live["spec"]["replicas"]),
    (
        DEPLOYMENT,
        {"spec": {"template": {"spec": {"automountServiceAccountToken": True}}}},
        lambda live: live["spec"]["template"]["spec"]["automountServiceAccountToken"],
    ),
    (
        DEPLOYMENT,
        {"metadata": {"labels": {"bulkhead.dev/organization": "somebody"}}},
        lambda live: live["metadata"]["labels"]["bulkhead.dev/organization"],
    ),
    (
        DEPLOYMENT,
        {"metadata": {"ownerReferences": None}},
        lambda live: bool(live["metadata"].get("ownerReferences")),
    ),
)


async def with_package(world: World, name: str) -> None:
    await world.active(name)
    manifest = package(f"org-{name}", "support", "1.0.0", helper={})
    await world.api.create(manifest)
    await world.ready(manifest, status="True")


async def test_every_deleted_child_comes_back(operated: World) -> None:
    await with_package(operated, "torn")
    uids = {}
    for template in CHILDREN:
        path = template.format("org-torn")
        uids[path] = (await operated.api.expect("GET", path))["metadata"]["uid"]
        await operated.api.expect("DELETE", path)

    async def all_back() -> bool:
        return not [path for path, uid in uids.items() if not await _renewed(operated, path, uid)]

    await until(all_back, "every child is there again")


async def _renewed(world: World, path: str, uid: str) -> bool:
    live = await world.api.get(path)
    return live is not None and live["metadata"]["uid"] != uid


async def test_every_edited_field_is_set_right_again(operated: World) -> None:
    await with_package(operated, "bent")
    for template, edit, pick in EDITS:
        path = template.format("org-bent")
        right = pick(await operated.api.expect("GET", path))
        wrong = pick(await operated.api.merge(path, edit))
        assert wrong != right, f"the edit of {path} changed nothing"

        async def restored(path: str = path, right: object = right, pick: Any = pick) -> bool:
            live = await operated.api.get(path)
            return live is not None and pick(live) == right

        await until(restored, f"{path} is as before {edit}")


async def test_what_others_add_beside_our_fields_stays(operated: World) -> None:
    await operated.active("shared")
    path = DEPLOYMENT.format("org-shared")
    before = len(operated.writes())
    await operated.api.merge(path, {"metadata": {"annotations": {"example.com/mine": "1"}}})
    await operated.api.expect("DELETE", "/api/v1/namespaces/org-shared/services/runtime")
    await operated.there("/api/v1/namespaces/org-shared/services/runtime")
    live = await operated.api.expect("GET", path)
    assert live["metadata"]["annotations"]["example.com/mine"] == "1"
    assert [write for write in operated.writes()[before:] if "/deployments/" in write] == []


async def test_a_package_map_that_is_needed_no_more_goes(operated: World) -> None:
    await with_package(operated, "lean")
    manifest = package("org-lean", "support", "1.0.0", helper={})
    await operated.api.expect("DELETE", path_of(manifest))
    await operated.gone("/api/v1/namespaces/org-lean/configmaps/runtime-packages-0")

    async def no_agents() -> bool:
        return bool((await operated.read("lean"))["status"]["activeAgents"] == 0)

    await until(no_agents, "no agent is reported any more")


async def test_a_deleted_default_pool_is_made_again_and_a_changed_one_is_left(
    operated: World,
) -> None:
    await operated.active("pooled")
    path = "/apis/bulkhead.dev/v1alpha1/namespaces/org-pooled/memorypools/default"
    await operated.api.merge(path, {"spec": {"maxMemoryMB": 77}})
    (pod,) = [pod for pod in operated.runtime.pods.values() if pod.namespace == "org-pooled"]

    async def bounded() -> bool:
        return pod.config is not None and pod.config.pool.max_memory_mb == 77

    await until(bounded, "the runtime follows the pool's bound")
    await operated.api.expect("DELETE", path)
    assert (await operated.there(path))["spec"]["maxMemoryMB"] == 256


async def test_a_namespace_that_was_deleted_by_hand_is_made_again(operated: World) -> None:
    await operated.active("phoenix")
    before = await operated.api.expect("GET", "/api/v1/namespaces/org-phoenix")
    await operated.api.expect("DELETE", "/api/v1/namespaces/org-phoenix")

    async def renewed() -> bool:
        live = await operated.api.get("/api/v1/namespaces/org-phoenix")
        return live is not None and live["metadata"]["uid"] != before["metadata"]["uid"]

    await until(renewed, "the namespace is there again")
    await operated.run_pods("org-phoenix")
    new = await operated.api.expect("GET", "/api/v1/namespaces/org-phoenix")

    async def noted() -> bool:
        # The former namespace's runtime may have been the last that was said to be ready.
        status = (await operated.reported("phoenix", status="True"))["status"]
        return bool(status["namespaceUID"] == new["metadata"]["uid"])

    await until(noted, "the organization is ready in its new namespace")


async def test_an_organization_reads_as_it_did_after_its_status_was_emptied(
    operated: World,
) -> None:
    live = await operated.active("wiped")
    path = f"{path_of(organization('wiped'))}/status"
    await operated.api.merge(path, {"status": {"conditions": None, "namespaceUID": None}})
    again = await operated.reported("wiped", status="True")
    assert again["status"]["namespaceUID"] == live["status"]["namespaceUID"]
