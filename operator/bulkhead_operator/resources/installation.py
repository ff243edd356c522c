"""What prepares the dependencies of a version: a Job, and what its pod may reach.

Its steps run one after the other in one pod, so that they take the room of one container; what a
pod of the runtime may reach and have, this one may too, but for the runtime's files and Secrets.
"""

import re
from collections.abc import Iterator
from typing import Final

from bulkhead_api.names import GROUP, RUNTIME
from bulkhead_operator.cluster.port import Manifest, ObjectKey
from bulkhead_operator.resources import annotations, labels, network
from bulkhead_operator.resources.blueprint import Blueprint, InstallationBlueprint, package_owner
from bulkhead_operator.resources.pod import UNPRIVILEGED, USER
from bulkhead_operator.resources.quota import container_resources
from bulkhead_operator.resources.volumes import SCRATCH_SIZE

COMPONENT: Final = "installation"
REPETITIONS: Final = 2
KEPT_SECONDS: Final = 25 * 3600
"""Longer than any rollout waits for it, so that none is run twice for one."""

_LABEL_PACKAGE: Final = f"{GROUP}/installs"
_LONGEST_PACKAGE: Final = 34
_NAME: Final = re.compile(r"install-[-a-z0-9]+-[0-9a-f]{18}")


def job_key(namespace: str, package: str, checksum: str, started_at: int) -> ObjectKey:
    """Return the key of the Job of one rollout of a version."""
    digest = checksum.removeprefix("sha256:")[:10]
    name = f"install-{package[:_LONGEST_PACKAGE].rstrip('-')}-{digest}{started_at:08x}"
    return ObjectKey("batch/v1", "Job", namespace, name)


def is_ours(key: ObjectKey) -> bool:
    """Tell whether an object has a name that only something made here has."""
    return key.kind in {"Job", "NetworkPolicy"} and bool(_NAME.fullmatch(key.name))


def build(blueprint: Blueprint) -> Iterator[Manifest]:
    """Yield what installs; a Job that is there already cannot be changed and is left alone."""
    for one in blueprint.installations:
        yield _reach(blueprint, one)
        if one.missing:
            yield _job(blueprint, one)


def _child(
    blueprint: Blueprint, one: InstallationBlueprint, api_version: str, kind: str
) -> Manifest:
    child = blueprint.child(
        api_version,
        kind,
        one.name,
        component=COMPONENT,
        owned=False,
        annotations={
            annotations.PACKAGE: one.package,
            annotations.PACKAGE_UID: one.package_uid,
            annotations.PACKAGE_VERSION: one.version,
            annotations.PACKAGE_CHECKSUM: one.checksum,
        },
    )
    child["metadata"]["ownerReferences"] = [package_owner(one.package, one.package_uid)]
    return child


def _reach(blueprint: Blueprint, one: InstallationBlueprint) -> Manifest:
    return _child(blueprint, one, network.API_VERSION, "NetworkPolicy") | {
        "spec": {
            "podSelector": {"matchLabels": _selector(blueprint, one)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": list(network.outward(blueprint)),
        }
    }


def _selector(blueprint: Blueprint, one: InstallationBlueprint) -> dict[str, str]:
    return labels.selector(blueprint.name, COMPONENT) | {_LABEL_PACKAGE: one.name}


def _job(blueprint: Blueprint, one: InstallationBlueprint) -> Manifest:
    marks = labels.standard(blueprint.name, COMPONENT) | {_LABEL_PACKAGE: one.name}
    return _child(blueprint, one, "batch/v1", "Job") | {
        "spec": {
            "backoffLimit": REPETITIONS,
            "activeDeadlineSeconds": sum(step.timeout_seconds for step in one.steps.values()),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {"metadata": {"labels": marks}, "spec": _pod(blueprint, one)},
        }
    }


def _pod(blueprint: Blueprint, one: InstallationBlueprint) -> Manifest:
    steps = [
        _container(blueprint, one, name, step.command) for name, step in sorted(one.steps.items())
    ]
    spec: Manifest = {
        "restartPolicy": "Never",
        "serviceAccountName": RUNTIME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": steps[:-1],
        "containers": steps[-1:],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": SCRATCH_SIZE}}],
    }
    pull_secrets = blueprint.settings.runtime_image_pull_secrets
    if pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in pull_secrets]
    return spec


def _container(
    blueprint: Blueprint, one: InstallationBlueprint, name: str, command: tuple[str, ...]
) -> Manifest:
    settings = blueprint.settings
    return {
        "name": name,
        "image": settings.runtime_image,
        "imagePullPolicy": settings.runtime_image_pull_policy,
        # Kubernetes reads $(NAME) in a command; an author's text is what it is.
        "command": [part.replace("$(", "$$(") for part in command],
        "env": [
            {"name": "BULKHEAD_ORGANIZATION", "value": blueprint.name},
            {"name": "BULKHEAD_PACKAGE", "value": one.package},
            {"name": "BULKHEAD_VERSION", "value": one.version},
        ],
        "resources": container_resources(blueprint.organization.spec.limits),
        "securityContext": UNPRIVILEGED,
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108 (the pod's own)
    }
