"""The Deployment: its replicas, one more while it rolls, and the marks that upgrades go by."""

from typing import Final

from bulkhead_api.names import (
    ANNOTATION_ORGANIZATION_GENERATION,
    ANNOTATION_POD_TEMPLATE_HASH,
    RUNTIME,
)
from bulkhead_operator.cluster.port import Manifest, digest
from bulkhead_operator.resources import annotations, labels, pod
from bulkhead_operator.resources.blueprint import Blueprint

PROGRESS_SECONDS: Final = 300
"""Long enough for a cold image pull, short enough to stop an upgrade that fails."""


def build(blueprint: Blueprint) -> Manifest:
    """Return the Deployment."""
    template = pod.template(blueprint)
    marks = {
        ANNOTATION_POD_TEMPLATE_HASH: digest(template),
        ANNOTATION_ORGANIZATION_GENERATION: str(blueprint.organization.metadata.generation),
    }
    if blueprint.upgrade:
        marks[annotations.UPGRADE] = blueprint.upgrade
    return blueprint.child("apps/v1", "Deployment", RUNTIME, annotations=marks) | {
        "spec": {
            "replicas": replicas(blueprint),
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": PROGRESS_SECONDS,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "selector": {"matchLabels": labels.selector(blueprint.name)},
            "template": template,
        }
    }


def replicas(blueprint: Blueprint) -> int:
    """Return how many pods are wanted."""
    spec = blueprint.organization.spec
    return 0 if spec.suspend else spec.replicas
