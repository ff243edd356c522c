"""What is not ours is left alone, and says so where a person looks."""

import base64

import pytest

from tests.integration.reconcile.conftest import World, condition_of, organization
from tests.support.api_observer import Object, path_of
from tests.support.deadline import until

ANNOTATION = "bulkhead.dev/organization"


async def test_a_namespace_that_somebody_else_made_is_refused(operated: World) -> None:
    before = await operated.api.namespace("org-taken")
    await operated.organization("taken")
    live = await operated.reported("taken", reason="NamespaceNotOurs", message="'org-taken'")
    assert condition_of(live, "Stalled")["status"] == "True"
    assert "namespaceUID" not in live["status"]
    after = await operated.api.expect("GET", "/api/v1/namespaces/org-taken")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_namespace_is_adopted_once_it_names_the_organization(operated: World) -> None:
    await operated.organization("tenant", namespace="team-a")
    await operated.reported("tenant", reason="NamespaceNotFound", message="'team-a'")
    await operated.api.namespace("team-a")
    await operated.reported("tenant", reason="NamespaceNotOurs", message="kubectl annotate")
    await operated.api.merge(
        "/api/v1/namespaces/team-a", {"metadata": {"annotations": {ANNOTATION: "tenant"}}}
    )
    live = await operated.reported("tenant", reason="WaitingForPods")
    assert live["status"]["namespaceCreated"] is False
    namespace = await operated.api.expect("GET", "/api/v1/namespaces/team-a")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


async def test_of_two_organizations_one_namespace_is_only_that_of_the_first(
    operated: World,
) -> None:
    await operated.api.namespace("wanted", {ANNOTATION: "second-org"})
    await operated.organization("first-org", namespace="wanted")
    await operated.reported("first-org", reason="NamespaceNotOurs", message="'second-org'")
    await operated.organization("second-org", namespace="wanted")
    await operated.reported("second-org", reason="NamespaceClaimed", message="'first-org'")
    await operated.api.expect("DELETE", path_of(organization("first-org")))
    await operated.reported("second-org", reason="WaitingForPods")


async def test_a_same_named_object_of_somebody_else_is_refused_and_left_alone(
    operated: World,
) -> None:
    await operated.api.namespace("busy", {ANNOTATION: "busy"})
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "runtime"},
        "spec": {"ports": [{"port": 1234}]},
    }
    path = "/api/v1/namespaces/busy/services"
    await operated.api.expect("POST", path, service)
    await operated.organization("busy", namespace="busy")
    live = await operated.reported("busy", reason="ObjectNotOurs", message="Service")
    assert live["status"]["namespaceUID"]
    found = await operated.api.expect("GET", f"{path}/runtime")
    assert [port["port"] for port in found["spec"]["ports"]] == [1234]
    assert ANNOTATION not in (found["metadata"].get("labels") or {})
    await operated.api.expect("DELETE", f"{path}/runtime")
    await operated.reported("busy", reason="WaitingForPods")


async def test_a_key_that_somebody_else_put_there_is_not_taken_over(operated: World) -> None:
    await operated.api.namespace("planted", {ANNOTATION: "planted"})
    secret: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "runtime-api-key"},
        "stringData": {"token": "known-to-the-attacker"},
    }
    await operated.api.expect("POST", "/api/v1/namespaces/planted/secrets", secret)
    await operated.organization("planted", namespace="planted")
    await operated.reported("planted", reason="ObjectNotOurs", message="runtime-api-key")


@pytest.mark.parametrize(
    ("name", "entry", "says"),
    [
        pytest.param(
            "nosy",
            {"namespace": "org-nosys-victim", "ports": [80]},
            "'org-nosys-victim'",
            id="another tenant",
        ),
        pytest.param(
            "thief", {"cidr": "169.254.169.254/32", "ports": [80]}, "169.254.0.0/16", id="metadata"
        ),
    ],
)
async def test_denied_egress_is_named_and_never_opened(
    operated: World, name: str, entry: Object, says: str
) -> None:
    await operated.organization(f"{name}s-victim")
    allowed = {"cidr": "203.0.113.0/24", "ports": [443]}
    await operated.organization(name, network={"egress": [entry, allowed]})
    await operated.reported(name, reason="EgressDenied", message=says)
    path = f"/apis/networking.k8s.io/v1/namespaces/org-{name}/networkpolicies/runtime"
    policy = await operated.there(path)
    destinations = [rule["to"] for rule in policy["spec"]["egress"][1:]]
    assert destinations == [[{"ipBlock": {"cidr": "203.0.113.0/24"}}]]


async def key_of(world: World, namespace: str) -> str:
    path = f"/api/v1/namespaces/{namespace}/secrets/runtime-api-key"
    secret = await world.api.expect("GET", path)
    return base64.b64decode(secret["data"]["token"]).decode()


async def test_a_key_is_rotated_once_for_each_request(operated: World) -> None:
    await operated.active("rotor")
    first = await key_of(operated, "org-rotor")
    assert first.startswith("bh_")
    assert len(first) >= 40
    path = path_of(organization("rotor"))
    request = {"metadata": {"annotations": {"bulkhead.dev/rotate-api-key": "monday"}}}
    await operated.api.merge(path, request)

    async def handled() -> bool:
        live = await operated.read("rotor")
        return bool(live["status"].get("handledApiKeyRotation") == "monday")

    await until(handled, "the rotation is handled")
    second = await key_of(operated, "org-rotor")
    assert second != first
    (pod,) = await operated.api.items("/api/v1/namespaces/org-rotor/pods")
    touched = pod["metadata"]["annotations"]["bulkhead.dev/configuration-hash"]
    assert touched.endswith("monday"), "the kubelet is told to bring the new key at once"
    # As if the operator had died between the key and the status.
    await operated.api.merge(f"{path}/status", {"status": {"handledApiKeyRotation": None}})
    await until(handled, "the rotation is noted again")
    assert await key_of(operated, "org-rotor") == second


async def test_a_missing_key_is_made_anew(operated: World) -> None:
    await operated.active("lost")
    path = "/api/v1/namespaces/org-lost/secrets/runtime-api-key"
    await operated.api.expect("DELETE", path)

    async def renewed() -> bool:
        return await operated.api.get(path) is not None

    await until(renewed, "the Secret is there again")
