"""Labels, selectors and owner references: the same for every child, built in one place.

Labels select, they grant nothing. A parent's labels are never copied: tools that track objects by
label would adopt our children and prune them.
"""

from typing import Final

from bulkhead_api.names import API_VERSION, LABEL_ORGANIZATION, MANAGED_BY
from bulkhead_api.v1alpha1 import OrganizationRuntime
from bulkhead_operator.cluster.port import Manifest

APPLICATION: Final = "bulkhead-runtime"


def standard(organization: str, component: str = "runtime") -> dict[str, str]:
    """Return the labels of a child."""
    return {
        "app.kubernetes.io/name": APPLICATION,
        # Prefixed, because Argo CD takes this label for the name of one of its applications.
        "app.kubernetes.io/instance": f"bulkhead-{organization}",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "bulkhead",
        "app.kubernetes.io/managed-by": MANAGED_BY,
        LABEL_ORGANIZATION: organization,
    }


def selector(organization: str, component: str = "runtime") -> dict[str, str]:
    """Return the labels that select the organization's pods of one kind."""
    return {
        "app.kubernetes.io/name": APPLICATION,
        "app.kubernetes.io/component": component,
        LABEL_ORGANIZATION: organization,
    }


def selector_text(organization: str) -> str:
    """Return `selector` as the API server takes it in a query."""
    return ",".join(f"{name}={value}" for name, value in sorted(selector(organization).items()))


def owner(organization: OrganizationRuntime) -> Manifest:
    """Return the owner reference to the organization; it may own what lies in namespaces."""
    return {
        "apiVersion": API_VERSION,
        "kind": organization.kind_name,
        "name": organization.metadata.name,
        "uid": organization.metadata.uid,
        "controller": True,
    }
