"""What a version with an image of its own is made of: pods, their address, and who reaches whom.

Every version has its own, so that versions run side by side as those inside the runtime do.
"""

import re
from collections.abc import Iterator
from typing import Final

from bulkhead_api.names import GROUP, PUBLIC_PORT, RUNTIME, SERVICE_PORT
from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.resources import annotations, labels, network
from bulkhead_operator.resources.blueprint import Blueprint, ImageBlueprint, package_owner
from bulkhead_operator.resources.pod import STARTUP_SECONDS, UNPRIVILEGED
from bulkhead_operator.resources.volumes import SCRATCH_SIZE

HEALTH_PATH: Final = "/bulkhead/v1/health"
COMPONENT: Final = "package"
LABEL_PODS: Final = f"{GROUP}/package-pods"
"""On the pods of one version: the name of their Deployment."""

ACCESS: Final = "package-access"
"""The NetworkPolicy that lets the runtime and its packages reach each other."""

PROGRESS_SECONDS: Final = 300
_CLOSING_SECONDS: Final = 5
_LONGEST_PACKAGE: Final = 44
_KINDS: Final = frozenset({"Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"})
_NAME: Final = re.compile(r"package-[-a-z0-9]+-[0-9a-f]{10}")


def name(package: str, checksum: str) -> str:
    """Return the name of whatever belongs to one version; a DNS label, as Services need it."""
    stem = package[:_LONGEST_PACKAGE].rstrip("-")
    return f"package-{stem}-{checksum.removeprefix('sha256:')[:10]}"


def is_ours(key: ObjectKey) -> bool:
    """Tell whether an object has a name that only something made here has."""
    if key.kind == "NetworkPolicy" and key.name == ACCESS:
        return True
    return key.kind in _KINDS and bool(_NAME.fullmatch(key.name))


def endpoint(package: str, checksum: str) -> str:
    """Return where the version answers; short, since the runtime is in the same namespace."""
    return f"http://{name(package, checksum)}:{SERVICE_PORT}"


def deployment_key(namespace: str, package: str, checksum: str) -> ObjectKey:
    """Return the key of a version's Deployment."""
    return ObjectKey("apps/v1", "Deployment", namespace, name(package, checksum))


def build(blueprint: Blueprint) -> Iterator[Manifest]:
    """Yield everything for all versions with an image."""
    if blueprint.images:
        yield _access(blueprint)
    for one in blueprint.images:
        yield _reach(blueprint, one)
        yield _service(blueprint, one)
        if one.image.replicas > 1:
            yield _disruption_budget(blueprint, one)
        yield _deployment(blueprint, one)


def _child(blueprint: Blueprint, one: ImageBlueprint, api_version: str, kind: str) -> Manifest:
    child = blueprint.child(
        api_version,
        kind,
        name(one.package, one.checksum),
        component=COMPONENT,
        owned=False,
        annotations={
            annotations.PACKAGE: one.package,
            annotations.PACKAGE_VERSION: one.version,
            annotations.PACKAGE_CHECKSUM: one.checksum,
        },
    )
    child["metadata"]["ownerReferences"] = [package_owner(one.package, one.package_uid)]
    return child


def selector(organization: str, pods: str) -> dict[str, str]:
    """Return the labels that select the pods of one version."""
    return {LABEL_PODS: pods, **labels.selector(organization, COMPONENT)}


def selector_text(organization: str, pods: str) -> str:
    """Return `selector` as the API server takes it in a query."""
    wanted = selector(organization, pods)
    return ",".join(f"{key}={value}" for key, value in sorted(wanted.items()))


def _deployment(blueprint: Blueprint, one: ImageBlueprint) -> Manifest:
    pods = name(one.package, one.checksum)
    return _child(blueprint, one, "apps/v1", "Deployment") | {
        "spec": {
            "replicas": 0 if blueprint.organization.spec.suspend else one.image.replicas,
            "revisionHistoryLimit": 1,
            "progressDeadlineSeconds": PROGRESS_SECONDS,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "selector": {"matchLabels": selector(blueprint.name, pods)},
            "template": {
                "metadata": {
                    "labels": labels.standard(blueprint.name, COMPONENT) | {LABEL_PODS: pods}
                },
                "spec": _pod(blueprint, one),
            },
        }
    }


def _pod(blueprint: Blueprint, one: ImageBlueprint) -> Manifest:
    longest = blueprint.organization.spec.limits.max_execution_time_seconds
    spec: Manifest = {
        "serviceAccountName": RUNTIME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # Streams that run may end; who begins a new one is sent to the other version by then.
        "terminationGracePeriodSeconds": longest + _CLOSING_SECONDS,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(one)],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": SCRATCH_SIZE}}],
    }
    if one.image.pull_secret_name is not None:
        spec["imagePullSecrets"] = [{"name": one.image.pull_secret_name}]
    return spec


def _container(one: ImageBlueprint) -> Manifest:
    image = one.image
    resources = {"cpu": f"{image.cpu_millicores}m", "memory": f"{image.memory_mb}Mi"}
    return {
        "name": COMPONENT,
        "image": image.reference,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": image.port, "protocol": "TCP"}],
        "env": [{"name": "PORT", "value": str(image.port)}],
        "resources": {"requests": resources, "limits": resources},
        "securityContext": UNPRIVILEGED,
        "startupProbe": _probe(period=1, failures=STARTUP_SECONDS),
        "readinessProbe": _probe(period=5, failures=2),
        "livenessProbe": _probe(period=10, failures=6),
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108 (the pod's own)
    }


def _probe(*, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": HEALTH_PATH, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _service(blueprint: Blueprint, one: ImageBlueprint) -> Manifest:
    pods = name(one.package, one.checksum)
    return _child(blueprint, one, "v1", "Service") | {
        "spec": {
            "type": "ClusterIP",
            "selector": selector(blueprint.name, pods),
            "ports": [
                {"name": "http", "port": SERVICE_PORT, "targetPort": "http", "protocol": "TCP"}
            ],
        }
    }


def _disruption_budget(blueprint: Blueprint, one: ImageBlueprint) -> Manifest:
    pods = name(one.package, one.checksum)
    return _child(blueprint, one, "policy/v1", "PodDisruptionBudget") | {
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector(blueprint.name, pods)},
        }
    }


def _reach(blueprint: Blueprint, one: ImageBlueprint) -> Manifest:
    """Return the policy of one version: in from the runtime, out to it for models.

    And out to what the organization may reach, as the runtime itself.
    """
    runtime = {"podSelector": {"matchLabels": labels.selector(blueprint.name)}}
    pods = name(one.package, one.checksum)
    return _child(blueprint, one, network.API_VERSION, "NetworkPolicy") | {
        "spec": {
            "podSelector": {"matchLabels": selector(blueprint.name, pods)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {
                    "from": [runtime],
                    "ports": [{"protocol": "TCP", "port": one.image.port}],
                }
            ],
            "egress": [
                *network.outward(blueprint),
                {"to": [runtime], "ports": [{"protocol": "TCP", "port": PUBLIC_PORT}]},
            ],
        }
    }


def _access(blueprint: Blueprint) -> Manifest:
    """Return who may reach the runtime, and whom it may reach, while versions have an image."""
    packages = {"podSelector": {"matchLabels": labels.selector(blueprint.name, COMPONENT)}}
    ports = sorted({one.image.port for one in blueprint.images})
    return blueprint.child(network.API_VERSION, "NetworkPolicy", ACCESS, component=COMPONENT) | {
        "spec": {
            "podSelector": {"matchLabels": labels.selector(blueprint.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [packages], "ports": [{"protocol": "TCP", "port": PUBLIC_PORT}]}],
            "egress": [
                {
                    "to": [packages],
                    "ports": [{"protocol": "TCP", "port": port} for port in ports],
                }
            ],
        }
    }
