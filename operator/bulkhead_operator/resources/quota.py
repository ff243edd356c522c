"""How much the namespace may take in all, and what a container gets that names nothing."""

from typing import Final

from bulkhead_api.names import RUNTIME
from bulkhead_api.v1alpha1.organization_runtime import Limits
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources.blueprint import Blueprint

BESIDE_REPLICAS: Final = 2
"""The surge of a rolling update, one probe pod."""

PODS_OF_TENANTS: Final = 7
"""Pods that fit in beside those, as far as they leave CPU and memory."""

# Custom resources are not counted: the quota controller learns of a new kind only after half a
# minute, and until then the API server refuses every object of it.
COUNTS: Final = {
    "services": "10",
    "services.loadbalancers": "0",
    "services.nodeports": "0",
    "secrets": "100",
    "configmaps": "100",
    "persistentvolumeclaims": "5",
    "count/jobs.batch": "20",
}
"""Room for what a tenant keeps beside the runtime, bounded so that none fills the store."""


def resource_quota(blueprint: Blueprint) -> Manifest:
    """Return the namespace's bounds."""
    spec = blueprint.organization.spec
    limits, requests, packages = spec.limits, spec.limits.requests, spec.limits.packages
    pods = spec.replicas + BESIDE_REPLICAS
    services = int(COUNTS["services"]) + packages.pods
    return blueprint.child("v1", "ResourceQuota", RUNTIME) | {
        "spec": {
            "hard": {
                "limits.cpu": _millicores(
                    pods * limits.max_cpu_percent * 10 + packages.cpu_millicores
                ),
                "limits.memory": _mebibytes(pods * limits.max_memory_mb + packages.memory_mb),
                "requests.cpu": _millicores(
                    pods * requests.cpu_millicores + packages.cpu_millicores
                ),
                "requests.memory": _mebibytes(pods * requests.memory_mb + packages.memory_mb),
                "pods": str(pods + PODS_OF_TENANTS + packages.pods),
                **COUNTS,
                "services": str(services),
            }
        }
    }


def limit_range(blueprint: Blueprint) -> Manifest:
    """Return the bounds of one container: never more than one replica has."""
    resources = container_resources(blueprint.organization.spec.limits)
    return blueprint.child("v1", "LimitRange", RUNTIME) | {
        "spec": {
            "limits": [
                {
                    "type": "Container",
                    "default": resources["limits"],
                    "defaultRequest": resources["requests"],
                    "max": resources["limits"],
                }
            ]
        }
    }


def container_resources(limits: Limits) -> dict[str, dict[str, str]]:
    """Return requests and limits of one replica."""
    return {
        "requests": {
            "cpu": _millicores(limits.requests.cpu_millicores),
            "memory": _mebibytes(limits.requests.memory_mb),
        },
        "limits": {
            "cpu": _millicores(limits.max_cpu_percent * 10),
            "memory": _mebibytes(limits.max_memory_mb),
        },
    }


def _millicores(value: int) -> str:
    return f"{value}m"


def _mebibytes(value: int) -> str:
    return f"{value}Mi"
