"""From one applied resource to an isolated runtime, at the price of its children."""

import json
from typing import Any

import pytest

from bulkhead_api import names
from tests.integration.reconcile.conftest import World, condition_of, organization
from tests.support.api_observer import OURS, path_of
from tests.support.deadline import until

CHILDREN = {
    "namespaces/org-{name}",
    "rolebindings/bulkhead-operator",
    "serviceaccounts/runtime",
    "networkpolicies/default-deny",
    "networkpolicies/runtime",
    "resourcequotas/runtime",
    "limitranges/runtime",
    "configmaps/runtime-config",
    "persistentvolumeclaims/runtime-data",
    "secrets/runtime-api-key",
    "secrets/runtime-internal",
    "services/runtime",
    "poddisruptionbudgets/runtime",
    "deployments/runtime",
    "memorypools/default",
}


async def test_a_new_organization_costs_its_children_a_finalizer_and_two_status_writes(
    operated: World,
) -> None:
    before = len(operated.writes())
    await operated.active("price")
    await operated.ready(
        {"kind": "MemoryPool", "metadata": {"name": "default", "namespace": "org-price"}},
        status="True",
    )
    # What the operator does about organizations that other tests left behind is theirs.
    writes = [
        write
        for write in operated.writes()[before:]
        if "price" in write or write == "create /api/v1/namespaces"
    ]
    status = [write for write in writes if write.endswith("/organizationruntimes/price/status")]
    finalizer = [write for write in writes if write.endswith("/organizationruntimes/price")]
    pool = [write for write in writes if write.endswith("/memorypools/default/status")]
    children = [write for write in writes if write not in {*status, *finalizer, *pool}]
    assert (len(children), len(finalizer), len(status), len(pool)) == (len(CHILDREN), 1, 2, 1)


async def test_everything_is_there_and_status_says_where(operated: World) -> None:
    live = await operated.active("whole")
    status = live["status"]
    assert status["namespace"] == "org-whole"
    assert status["namespaceCreated"] is True
    assert status["url"] == "http://runtime.org-whole.svc"
    assert status["state"] == "active"
    assert status["runtimeId"].startswith("rt-")
    assert {one["type"] for one in status["conditions"]} == {
        "Ready",
        "WorkloadAvailable",
        "ConfigurationLoaded",
        "CredentialsPresent",
    }
    secret = await operated.api.get("/api/v1/namespaces/org-whole/secrets/runtime-api-key")
    assert secret is not None
    assert set(secret["data"]) == {names.TOKEN_FIELD}


async def test_the_default_deny_policy_stands_before_the_deployment_is_applied(
    operated: World,
) -> None:
    before = len(operated.writes())
    await operated.organization("walled")
    await operated.reported("walled", reason="WaitingForPods")
    writes = [write.rpartition("/org-walled/")[2] for write in operated.writes()[before:]]
    assert writes.index("networkpolicies/default-deny") < writes.index("deployments/runtime")


async def test_further_reconciles_and_resyncs_write_nothing(operated: World) -> None:
    await operated.active("calm")
    before, asked = await operated.quiet("calm"), operated.runtime.asked
    # A label concerns nobody, but it rings.
    await operated.api.merge(path_of(organization("calm")), {"metadata": {"labels": {"a": "b"}}})

    async def two_usage_rounds() -> bool:
        return operated.runtime.asked >= asked + 2

    await until(two_usage_rounds, "the operator asked for usage twice")
    assert operated.written("calm", before) == []


async def test_a_restarted_operator_writes_nothing(world: World) -> None:
    async with world.operator():
        await world.active("again")
        before = await world.quiet("again")
    asked = world.runtime.asked

    async def asked_again() -> bool:
        return world.runtime.asked > asked

    async with world.operator():
        await until(asked_again, "the new operator asked the runtime")
    assert world.written("again", before) == []


async def test_a_missing_credential_is_named_and_found_once_it_is_there(operated: World) -> None:
    await operated.organization(
        "keyless",
        models={
            "providers": [
                {
                    "name": "hosted",
                    "baseURL": "https://api.example.com/v1",
                    "credentialsRef": {"name": "hosted-key"},
                }
            ]
        },
    )
    await operated.reported("keyless", reason="CredentialsMissing")
    await operated.run_pods("org-keyless")
    live = await operated.reported("keyless", message="hosted-key")
    assert condition_of(live, "Stalled")["reason"] == "CredentialsMissing"
    secret: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "hosted-key"},
        "stringData": {"api-key": "very-secret"},
    }
    await operated.api.expect("POST", "/api/v1/namespaces/org-keyless/secrets", secret)
    live = await operated.reported("keyless", status="True")
    assert "very-secret" not in json.dumps(live)


async def test_missing_documents_are_named_and_found_once_they_are_there(operated: World) -> None:
    await operated.organization("reader", tools={"documents": {"configMaps": ["handbook"]}})
    await operated.reported("reader", reason="DocumentsMissing", message="'handbook'")
    await operated.run_pods("org-reader")
    handbook = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "handbook"}}
    await operated.api.expect("POST", "/api/v1/namespaces/org-reader/configmaps", handbook)
    await operated.reported("reader", status="True")


async def test_replicas_on_shared_stores_wait_for_the_database_secret(operated: World) -> None:
    shared = {"postgres": {"secretRef": {"name": "database"}}}
    await operated.organization("wide", replicas=2, storage=shared)
    await operated.reported("wide", reason="CredentialsMissing", message="storage.postgres")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "database"},
        "stringData": {"dsn": "postgresql://wide:very-secret@db/bulkhead"},
    }
    await operated.api.expect("POST", "/api/v1/namespaces/org-wide/secrets", secret)

    async def both_run() -> bool:
        await operated.runtime.run_pods("org-wide")
        pods = [pod for pod in operated.runtime.pods.values() if pod.namespace == "org-wide"]
        return len(pods) == 2

    await until(both_run, "two pods run")
    live = await operated.reported("wide", status="True")
    assert "very-secret" not in json.dumps(live)
    claim = "/api/v1/namespaces/org-wide/persistentvolumeclaims/runtime-data"
    assert await operated.api.get(claim) is None


async def test_a_suspended_organization_keeps_its_data_and_comes_back(operated: World) -> None:
    await operated.active("sleepy")
    path = path_of(organization("sleepy"))
    await operated.api.merge(path, {"spec": {"suspend": True}})
    live = await operated.reported("sleepy", reason="Suspended")
    assert live["status"]["state"] == "suspended"
    assert condition_of(live, "Stalled") == {}
    claim = "/api/v1/namespaces/org-sleepy/persistentvolumeclaims/runtime-data"
    assert await operated.api.get(claim) is not None
    await operated.api.merge(path, {"spec": {"suspend": False}})
    await operated.run_pods("org-sleepy")
    assert (await operated.reported("sleepy", status="True"))["status"]["state"] == "active"


async def test_changed_limits_reach_a_running_runtime_without_a_restart(operated: World) -> None:
    await operated.active("tuned")
    (pod,) = [pod for pod in operated.runtime.pods.values() if pod.namespace == "org-tuned"]
    change = {"spec": {"limits": {"rateLimitPerMinute": 7}}}
    await operated.api.merge(path_of(organization("tuned")), change)
    live = await operated.reported("tuned", status="True")
    assert pod.config is not None
    assert pod.config.limits.rate_limit_per_minute == 7
    assert live["status"]["configurationHash"] == pod.config.hash
    assert await operated.api.get(f"/api/v1/namespaces/org-tuned/pods/{pod.name}") is not None


@pytest.mark.parametrize("kind", ["agentpackages", "memorypools"])
async def test_an_object_in_a_namespace_of_no_organization_says_so(
    operated: World, kind: str
) -> None:
    await operated.api.namespace(f"nobody-{kind}")
    spec = {"agentpackages": {"version": "1.0.0", "agents": [{"name": "a"}]}, "memorypools": {}}
    manifest = {
        "apiVersion": "bulkhead.dev/v1alpha1",
        "kind": {"agentpackages": "AgentPackage", "memorypools": "MemoryPool"}[kind],
        "metadata": {"name": "default", "namespace": f"nobody-{kind}"},
        "spec": spec[kind],
    }
    await operated.api.expect("POST", f"{OURS}/namespaces/nobody-{kind}/{kind}", manifest)
    live = await operated.ready(manifest, reason="NoOrganization")
    assert condition_of(live, "Stalled")["status"] == "True"


async def test_a_page_that_is_switched_off_is_told_to_the_runtime(operated: World) -> None:
    await operated.active("pageless", page="Disabled")
    live = await operated.there("/api/v1/namespaces/org-pageless/configmaps/runtime-config")
    assert json.loads(live["data"]["config.json"])["page"] == "Disabled"
