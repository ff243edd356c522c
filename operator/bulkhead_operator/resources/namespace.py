"""The organization's namespace, with Pod Security at its strictest level."""

from typing import Final

from bulkhead_api.names import ANNOTATION_ORGANIZATION
from bulkhead_api.v1alpha1 import OrganizationRuntime
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources import annotations, labels

POD_SECURITY_VERSION: Final = "v1.35"
"""Pinned, so that an upgrade of the cluster cannot refuse pods that ran before; the oldest
supported release, because a newer one would not be known there."""


def build(organization: OrganizationRuntime, namespace: str, *, made: bool) -> Manifest:
    """Return the namespace; on one that a person made only our own labels are ours."""
    name = organization.metadata.name
    metadata: Manifest = {
        "name": namespace,
        "labels": labels.standard(name, "namespace") | pod_security(),
    }
    if made:
        metadata["annotations"] = {
            ANNOTATION_ORGANIZATION: name,
            annotations.ORGANIZATION_UID: organization.metadata.uid,
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
