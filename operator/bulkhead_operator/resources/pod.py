"""The runtime's pod: unprivileged, without a token, its files mounted and never copied."""

from typing import Final

from bulkhead_api.names import (
    INTERNAL_PORT,
    POD_IP_VARIABLE,
    POSTGRES_CONNECTIONS_VARIABLE,
    PUBLIC_PORT,
    REDIS_VARIABLE,
    RUNTIME,
    STORE_VARIABLE,
)
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources import labels, volumes
from bulkhead_operator.resources.blueprint import Blueprint, runtime_id
from bulkhead_operator.resources.quota import container_resources

USER: Final = 65532
STARTUP_SECONDS: Final = 180
UNPRIVILEGED: Final[Manifest] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_CLOSING_SECONDS: Final = 5


def template(blueprint: Blueprint) -> Manifest:
    """Return the pod template."""
    limits = blueprint.organization.spec.limits
    settings = blueprint.settings
    spec: Manifest = {
        "serviceAccountName": RUNTIME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": (
            settings.runtime_drain_seconds + limits.max_execution_time_seconds + _CLOSING_SECONDS
        ),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            # A volume with many files would be walked through at every start.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(blueprint)],
        "volumes": volumes.volumes(blueprint),
        **(_spread if blueprint.shares_stores else _same_host)(blueprint.name),
    }
    if settings.runtime_image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.runtime_image_pull_secrets]
    return {"metadata": {"labels": labels.standard(blueprint.name)}, "spec": spec}


def _same_host(organization: str) -> Manifest:
    # Old and new pod of a rolling update share the volume, which mounts on one node only.
    term = {
        "labelSelector": {"matchLabels": labels.selector(organization)},
        "topologyKey": "kubernetes.io/hostname",
    }
    return {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


def _spread(organization: str) -> Manifest:
    # Wished and not required: replicas on one node serve better than none.
    return {
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels.selector(organization)},
                "matchLabelKeys": ["pod-template-hash"],
            }
            for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
        ]
    }


def _container(blueprint: Blueprint) -> Manifest:
    settings = blueprint.settings
    return {
        "name": RUNTIME,
        "image": settings.runtime_image,
        "imagePullPolicy": settings.runtime_image_pull_policy,
        "ports": [
            {"name": "http", "containerPort": PUBLIC_PORT, "protocol": "TCP"},
            {"name": "internal", "containerPort": INTERNAL_PORT, "protocol": "TCP"},
        ],
        "env": [
            {"name": "BULKHEAD_ORGANIZATION", "value": blueprint.name},
            {"name": "BULKHEAD_RUNTIME_ID", "value": runtime_id(blueprint.organization)},
            {"name": "BULKHEAD_DRAIN_SECONDS", "value": str(settings.runtime_drain_seconds)},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": POD_IP_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            *_store(blueprint),
        ],
        "resources": container_resources(blueprint.organization.spec.limits),
        "securityContext": UNPRIVILEGED,
        "startupProbe": _probe("/health", period=1, failures=STARTUP_SECONDS),
        "readinessProbe": _probe("/readiness", period=1, failures=2),
        "livenessProbe": _probe("/health", period=10, failures=3),
        "volumeMounts": volumes.mounts(blueprint),
    }


def _store(blueprint: Blueprint) -> list[Manifest]:
    storage = blueprint.organization.spec.storage
    if storage.postgres is None:
        return [{"name": STORE_VARIABLE, "value": "sqlite"}]
    connections = str(storage.postgres.max_connections)
    return [
        {"name": STORE_VARIABLE, "value": "postgres"},
        {"name": POSTGRES_CONNECTIONS_VARIABLE, "value": connections},
        {"name": REDIS_VARIABLE, "value": "false" if storage.redis is None else "true"},
    ]


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "internal"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
