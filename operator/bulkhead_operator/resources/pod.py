"""The runtime's pod: unprivileged, without a token, its files mounted and never copied."""

from typing import Final

from bulkhead_api.names import (
    API_KEY_SECRET,
    CONFIG_DIRECTORY,
    CONFIG_MAP,
    DATA_CLAIM,
    DATA_DIRECTORY,
    INTERNAL_PORT,
    INTERNAL_SECRET,
    PACKAGE_CONFIG_MAP_PREFIX,
    PACKAGE_CONFIG_MAPS,
    PUBLIC_PORT,
    RUNTIME,
    SECRETS_DIRECTORY,
    TOKEN_FIELD,
)
from bulkhead_api.v1alpha1.organization_runtime import Provider
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources import labels
from bulkhead_operator.resources.blueprint import Blueprint, runtime_id
from bulkhead_operator.resources.quota import container_resources

USER: Final = 65532
SCRATCH_SIZE: Final = "64Mi"
STARTUP_SECONDS: Final = 180
_GROUP_READABLE: Final = 0o440
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
        "affinity": _same_host(blueprint.name),
        "containers": [_container(blueprint)],
        "volumes": _volumes(blueprint),
    }
    if settings.runtime_image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.runtime_image_pull_secrets]
    return {"metadata": {"labels": labels.standard(blueprint.name)}, "spec": spec}


def _same_host(organization: str) -> Manifest:
    # Old and new pod of a rolling update share the volume, which mounts on one node only.
    return {
        "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "labelSelector": {"matchLabels": labels.selector(organization)},
                    "topologyKey": "kubernetes.io/hostname",
                }
            ]
        }
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
        ],
        "resources": container_resources(blueprint.organization.spec.limits),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": _probe("/health", period=1, failures=STARTUP_SECONDS),
        "readinessProbe": _probe("/readiness", period=1, failures=2),
        "livenessProbe": _probe("/health", period=10, failures=3),
        "volumeMounts": _mounts(blueprint),
    }


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "internal"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _mounts(blueprint: Blueprint) -> list[Manifest]:
    mounts: list[Manifest] = [
        {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 (the pod's own, bounded)
        {"name": "config", "mountPath": CONFIG_DIRECTORY, "readOnly": True},
        {"name": "data", "mountPath": DATA_DIRECTORY},
        {"name": "api-key", "mountPath": f"{SECRETS_DIRECTORY}/api-key", "readOnly": True},
        {"name": "internal", "mountPath": f"{SECRETS_DIRECTORY}/internal", "readOnly": True},
    ]
    if _with_credentials(blueprint):
        mounts.append(
            {"name": "providers", "mountPath": f"{SECRETS_DIRECTORY}/providers", "readOnly": True}
        )
    return mounts


def _volumes(blueprint: Blueprint) -> list[Manifest]:
    maps = [
        CONFIG_MAP,
        *(f"{PACKAGE_CONFIG_MAP_PREFIX}{index}" for index in range(PACKAGE_CONFIG_MAPS)),
    ]
    volumes: list[Manifest] = [
        {"name": "scratch", "emptyDir": {"sizeLimit": SCRATCH_SIZE}},
        {
            "name": "config",
            "projected": {
                "sources": [{"configMap": {"name": name, "optional": True}} for name in maps]
            },
        },
        {"name": "data", "persistentVolumeClaim": {"claimName": DATA_CLAIM}},
        _token_volume("api-key", API_KEY_SECRET),
        _token_volume("internal", INTERNAL_SECRET),
    ]
    providers = _with_credentials(blueprint)
    if providers:
        volumes.append(_providers_volume(providers))
    return volumes


def _token_volume(name: str, secret: str) -> Manifest:
    return {
        "name": name,
        "secret": {
            "secretName": secret,
            "items": [{"key": TOKEN_FIELD, "path": TOKEN_FIELD}],
            "defaultMode": _GROUP_READABLE,
        },
    }


def _providers_volume(providers: list[Provider]) -> Manifest:
    sources = [
        {
            "secret": {
                "name": reference.name,
                "items": [{"key": reference.key, "path": provider.name}],
                "optional": True,
            }
        }
        for provider in providers
        if (reference := provider.credentials_ref) is not None
    ]
    return {
        "name": "providers",
        "projected": {"sources": sources, "defaultMode": _GROUP_READABLE},
    }


def _with_credentials(blueprint: Blueprint) -> list[Provider]:
    return [
        provider
        for provider in blueprint.organization.spec.models.providers
        if provider.credentials_ref is not None
    ]
