"""The organization's namespace, with Pod Security at its strictest level."""

from typing import Final

from bulkhead_api.names import ANNOTATION_ORGANIZATION

from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources import annotations, labels
from bulkhead_operator.resources.blueprint import Blueprint

POD_SECURITY_VERSION: Final = "v1.35"
"""Pinned, so that an upgrade of the cluster cannot refuse pods that ran before; the oldest
supported release, because a newer one would not be known there."""


def build(blueprint: Blueprint) -> Manifest:
    """Return the namespace; what a person wrote on an adopted one is left alone."""
    metadata: Manifest = {
        "name": blueprint.namespace,
        "labels": labels.standard(blueprint.name, "namespace") | pod_security(),
    }
    if blueprint.namespace_made:
        metadata["annotations"] = {
            ANNOTATION_ORGANIZATION: blueprint.name,
            annotations.ORGANIZATION_UID: blueprint.organization.metadata.uid,
        }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def pod_security() -> dict[str, str]:
    """Return the labels that let only restricted pods in."""
    prefix = "pod-security.kubernetes.io"
    return {
        f"{prefix}/{mode}{suffix}": value
        for mode in ("enforce", "audit", "warn")
        for suffix, value in (("", "restricted"), ("-version", POD_SECURITY_VERSION))
    }
