"""What the operator makes of a spec, in full and by the promises that tenants rely on."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from bulkhead_api import names
from bulkhead_operator.cluster.port import ObjectKey
from bulkhead_operator.reconcile import deletion, observed
from bulkhead_operator.resources import labels, pod, secret, storage
from bulkhead_operator.resources.desired import desired
from tests.support.blueprints import SETTINGS, agent, blueprint, package

FULL_SPEC: dict[str, Any] = {
    "namespace": "acme-prod",
    "limits": {
        "maxMemoryMB": 1024,
        "maxCPUPercent": 150,
        "maxExecutionTimeSeconds": 600,
        "requests": {"cpuMillicores": 500, "memoryMB": 256},
    },
    "models": {
        "default": "local/small",
        "providers": [
            {"name": "local", "baseURL": "http://models.gateway.svc/v1"},
            {
                "name": "hosted",
                "baseURL": "https://api.example.com/v1",
                "credentialsRef": {"name": "hosted-key"},
            },
        ],
    },
    "network": {
        "egress": [
            {"cidr": "0.0.0.0/0", "ports": [443]},
            {"cidr": "::/0", "ports": [443]},
            {"namespace": "gateway", "ports": [80, 8080]},
        ]
    },
    "storage": {"sizeMB": 2048, "storageClassName": "fast"},
}

SHARED_SPEC: dict[str, Any] = {
    "replicas": 3,
    "storage": {
        "postgres": {"secretRef": {"name": "database"}, "maxConnections": 5},
        "redis": {"secretRef": {"name": "cache"}},
    },
    "network": {"egress": [{"cidr": "203.0.113.5/32", "ports": [5432, 6379]}]},
    "models": {
        "providers": [
            {
                "name": "hosted",
                "baseURL": "https://api.example.com/v1",
                "credentialsRef": {"name": "hosted-key"},
            }
        ]
    },
    "authentication": {
        "apiKeys": [{"name": "ci", "secretRef": {"name": "ci-key"}, "scopes": ["agents:run"]}],
        "oidc": [
            {
                "name": "company",
                "issuer": "https://login.example.com",
                "audience": "bulkhead",
                "caSecretRef": {"name": "company-ca"},
            }
        ],
    },
    "tools": {
        "servers": [
            {
                "name": "tickets",
                "url": "https://tickets.example.com/mcp",
                "credentialsRef": {"name": "tickets", "key": "token"},
            }
        ],
        "documents": {"configMaps": ["handbook"]},
        "credentials": [
            {"name": "crm", "secretRef": {"name": "crm-key"}, "hosts": ["crm.example.com"]}
        ],
    },
    "telemetry": {
        "tracing": {
            "endpoint": "https://otlp.example.com",
            "headersRef": {"name": "collector"},
        },
        "sentry": {"dsnRef": {"name": "sentry"}},
    },
}

SHAPES: Mapping[str, Any] = {
    "default": blueprint,
    "full": lambda: blueprint(
        FULL_SPEC, made=False, packages=(package("support", "1.2.0", agent("helper")),)
    ),
    "shared": lambda: blueprint(SHARED_SPEC),
    "suspended": lambda: blueprint({"suspend": True}),
    "adopted": lambda: blueprint({"namespace": "team-a"}, made=False),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_manifests_are_as_reviewed(
    shape: str, matches_golden: Callable[[str, Mapping[str, Any]], None]
) -> None:
    manifests = desired(SHAPES[shape]())
    matches_golden(
        shape, {f"{key.kind}/{key.name}": manifest for key, manifest in manifests.items()}
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_every_child_carries_the_standard_labels_and_only_those(shape: str) -> None:
    built = SHAPES[shape]()
    for manifest in desired(built).values():
        found = {
            name: value
            for name, value in manifest["metadata"]["labels"].items()
            if not name.startswith("pod-security.kubernetes.io/")
        }
        component = found["app.kubernetes.io/component"]
        assert found == labels.standard(built.name, component)


def test_data_and_the_namespace_are_not_collected_with_their_organization() -> None:
    built = blueprint(packages=(package("support", "1.0.0"),))
    children = [*desired(built).values(), secret.api_key(built, "k", None), storage.pool(built)]
    unowned = {
        manifest["kind"] for manifest in children if not manifest["metadata"].get("ownerReferences")
    }
    assert unowned == {"Namespace", "PersistentVolumeClaim", "Secret", "MemoryPool"}


def test_deletion_knows_every_child_that_is_applied() -> None:
    built = blueprint()
    applied = {(key.kind, key.name) for key in desired(built) if key.kind != "Namespace"}
    assert applied <= deletion.OURS


def test_a_pod_mounts_no_token_and_may_do_nothing() -> None:
    spec = pod.template(blueprint())["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_pod_is_given_time_to_drain_and_to_finish_the_longest_execution() -> None:
    built = blueprint({"limits": {"maxExecutionTimeSeconds": 600}})
    grace = pod.template(built)["spec"]["terminationGracePeriodSeconds"]
    assert grace == built.settings.runtime_drain_seconds + 600 + 5


def test_the_configuration_is_one_projected_volume_over_optional_maps() -> None:
    volumes = {one["name"]: one for one in pod.template(blueprint())["spec"]["volumes"]}
    sources = volumes["config"]["projected"]["sources"]
    maps = [source["configMap"] for source in sources]
    assert [one["name"] for one in maps] == [
        names.CONFIG_MAP,
        *(f"{names.PACKAGE_CONFIG_MAP_PREFIX}{n}" for n in range(names.PACKAGE_CONFIG_MAPS)),
    ]
    assert all(one["optional"] for one in maps)


def test_secrets_are_mounted_where_the_runtime_looks_and_in_no_configuration() -> None:
    built = blueprint(FULL_SPEC)
    (container,) = pod.template(built)["spec"]["containers"]
    mounts = {one["mountPath"] for one in container["volumeMounts"]}
    assert {
        f"{names.SECRETS_DIRECTORY}/{n}" for n in ("api-key", "internal", "providers")
    } <= mounts
    assert "hosted-key" not in built.configuration.model_dump_json()


def test_every_secret_that_a_spec_names_is_a_file_of_its_own_and_may_be_missing() -> None:
    built = blueprint(SHARED_SPEC)
    spec = pod.template(built)["spec"]
    volumes = {one["name"]: one for one in spec["volumes"]}
    files = {}
    for mount in spec["containers"][0]["volumeMounts"]:
        for source in volumes[mount["name"]].get("projected", {}).get("sources", ()):
            for item in source.get("secret", {}).get("items", ()):
                path = f"{mount['mountPath']}/{item['path']}"
                assert source["secret"]["optional"]
                files[path.removeprefix(f"{names.SECRETS_DIRECTORY}/")] = (
                    source["secret"]["name"],
                    item["key"],
                )
    assert files == {
        names.POSTGRES_DSN_FILE: ("database", "dsn"),
        names.REDIS_URL_FILE: ("cache", "url"),
        "providers/hosted": ("hosted-key", "api-key"),
        "api-keys/ci": ("ci-key", "token"),
        "oidc/company.pem": ("company-ca", "ca.crt"),
        "mcp/tickets": ("tickets", "token"),
        "tools/crm": ("crm-key", "api-key"),
        names.TRACING_HEADERS_FILE: ("collector", "headers"),
        names.SENTRY_DSN_FILE: ("sentry", "dsn"),
    }


def test_documents_are_mounted_beside_the_configuration_by_name() -> None:
    (container,) = pod.template(blueprint(SHARED_SPEC))["spec"]["containers"]
    mounts = [one["mountPath"] for one in container["volumeMounts"]]
    assert f"{names.DOCUMENTS_DIRECTORY}/handbook" in mounts


def test_replicas_on_shared_stores_need_no_volume_and_spread_over_nodes() -> None:
    built = blueprint(SHARED_SPEC)
    assert not [key for key in desired(built) if key.kind == "PersistentVolumeClaim"]
    deployment = desired(built)[observed.deployment_key(built.namespace)]
    assert deployment["spec"]["replicas"] == 3
    spec = deployment["spec"]["template"]["spec"]
    assert "affinity" not in spec
    assert {one["topologyKey"] for one in spec["topologySpreadConstraints"]} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    environment = {one["name"]: one.get("value") for one in spec["containers"][0]["env"]}
    assert environment[names.STORE_VARIABLE] == "postgres"
    assert environment[names.POSTGRES_CONNECTIONS_VARIABLE] == "5"
    assert environment[names.REDIS_VARIABLE] == "true"


def test_the_quota_holds_every_replica_the_surge_and_a_probe() -> None:
    built = blueprint(SHARED_SPEC)
    quota = desired(built)[ObjectKey("v1", "ResourceQuota", built.namespace, names.RUNTIME)]
    assert quota["spec"]["hard"]["limits.memory"] == f"{5 * 512}Mi"
    assert quota["spec"]["hard"]["requests.cpu"] == f"{5 * 250}m"
    assert quota["spec"]["hard"]["pods"] == "12"


def test_a_pool_on_shared_stores_is_bounded_by_no_volume() -> None:
    shared = blueprint({"storage": {**SHARED_SPEC["storage"], "sizeMB": 64}})
    assert storage.pool(shared)["spec"]["maxMemoryMB"] == 256


def test_without_gateways_nobody_reaches_the_public_port() -> None:
    closed = SETTINGS.model_copy(update={"gateways": ()})
    built = replace(blueprint(), settings=closed)
    policy = desired(built)[
        ObjectKey("networking.k8s.io/v1", "NetworkPolicy", built.namespace, names.RUNTIME)
    ]
    ports = [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
    assert ports == [names.INTERNAL_PORT]
    assert all(rule["from"] for rule in policy["spec"]["ingress"])


def test_the_default_pool_fits_into_the_smallest_volume() -> None:
    assert storage.pool(blueprint({"storage": {"sizeMB": 64}}))["spec"]["maxMemoryMB"] == 32


def test_a_suspended_organization_keeps_everything_but_its_pods() -> None:
    running, suspended = desired(blueprint()), desired(blueprint({"suspend": True}))
    assert set(running) == set(suspended)
    different = {key.kind for key in running if running[key] != suspended[key]}
    assert different == {"Deployment"}
