"""Every kind that the operator touches: where it is served, whether it is watched, what is kept.

Facts, the few values of a live child that status needs, are named in `cluster.port.Child`.
Secrets and Pods are never watched, and MemoryPools belong to people.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any, Final

from bulkhead_api.names import (
    API_VERSION,
    GROUP,
)
from bulkhead_operator.cluster.port import ObjectKey

Facts = Mapping[str, Any]
NO_FACTS: Final[Facts] = {}

_CONDITIONS = ("Progressing", "Available", "ReplicaFailure")


def _no_facts(_: Mapping[str, Any]) -> Facts:
    return NO_FACTS


def _annotations(live: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value
        for name, value in (live["metadata"].get("annotations") or {}).items()
        if name.startswith(f"{GROUP}/")
    }


def _deployment(live: Mapping[str, Any]) -> Facts:
    status = live.get("status") or {}
    return {
        "annotations": _annotations(live),
        "generation": live["metadata"].get("generation", 0),
        "observedGeneration": status.get("observedGeneration", 0),
        "specReplicas": (live.get("spec") or {}).get("replicas", 1),
        "replicas": status.get("replicas", 0),
        "updatedReplicas": status.get("updatedReplicas", 0),
        "availableReplicas": status.get("availableReplicas", 0),
        "unavailableReplicas": status.get("unavailableReplicas", 0),
        "conditions": {
            condition["type"]: {
                "status": condition["status"],
                "reason": condition.get("reason", ""),
                "message": condition.get("message", ""),
            }
            for condition in status.get("conditions") or ()
            if condition["type"] in _CONDITIONS
        },
    }


def _claim(live: Mapping[str, Any]) -> Facts:
    status = live.get("status") or {}
    return {
        "phase": status.get("phase"),
        "capacity": (status.get("capacity") or {}).get("storage"),
    }


def _namespace(live: Mapping[str, Any]) -> Facts:
    return {
        "annotations": _annotations(live),
        "phase": (live.get("status") or {}).get("phase"),
    }


def _config_map(live: Mapping[str, Any]) -> Facts:
    return {"keys": tuple(sorted(live.get("data") or ()))}


def _revision(live: Mapping[str, Any]) -> Facts:
    return {"annotations": _annotations(live), "revision": live.get("revision", 0)}


def _job(live: Mapping[str, Any]) -> Facts:
    ended: Mapping[str, Any] = next(
        (
            one
            for one in (live.get("status") or {}).get("conditions") or ()
            if one["type"] in {"Complete", "Failed"} and one["status"] == "True"
        ),
        {},
    )
    return {
        "annotations": _annotations(live),
        "ended": ended.get("type", ""),
        "reason": ended.get("reason", ""),
    }


def controller_of(live: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the ownerReference of the object's controller, or None."""
    for reference in live["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: Mapping[str, Any] = reference
            return found
    return None


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind as the API server serves it; `page` bounds how many objects one answer holds."""

    api_version: str
    name: str
    plural: str
    namespaced: bool = True
    watched: bool = False
    facts: Callable[[Mapping[str, Any]], Facts] = _no_facts
    page: int = 100

    def collection(self, namespace: str | None = None) -> str:
        """Return the path of all objects, or of one namespace's."""
        root = "/api" if "/" not in self.api_version else "/apis"
        scope = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return f"{root}/{self.api_version}{scope}/{self.plural}"

    def key(self, live: Mapping[str, Any]) -> ObjectKey:
        """Return the key of an object; items of lists do not say their kind."""
        metadata = live["metadata"]
        namespace = metadata.get("namespace")
        # Most names recur in every namespace, and every namespace in many keys.
        return ObjectKey(
            self.api_version,
            self.name,
            intern(namespace) if namespace else None,
            intern(metadata["name"]),
        )


_NETWORKING = "networking.k8s.io/v1"

KINDS: Final = (
    Kind("v1", "Namespace", "namespaces", namespaced=False, watched=True, facts=_namespace),
    Kind("v1", "ResourceQuota", "resourcequotas", watched=True),
    Kind("v1", "LimitRange", "limitranges", watched=True),
    Kind(_NETWORKING, "NetworkPolicy", "networkpolicies", watched=True),
    Kind("v1", "ServiceAccount", "serviceaccounts", watched=True),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", watched=True),
    # Up to 1 MiB each.
    Kind("v1", "ConfigMap", "configmaps", watched=True, facts=_config_map, page=50),
    Kind("apps/v1", "ControllerRevision", "controllerrevisions", True, True, _revision, 50),
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims", watched=True, facts=_claim),
    Kind("apps/v1", "Deployment", "deployments", watched=True, facts=_deployment),
    Kind("v1", "Service", "services", watched=True),
    Kind("batch/v1", "Job", "jobs", watched=True, facts=_job),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", watched=True),
    Kind("v1", "Secret", "secrets"),
    Kind("v1", "Pod", "pods"),
    Kind("events.k8s.io/v1", "Event", "events"),
    Kind("coordination.k8s.io/v1", "Lease", "leases"),
    Kind(API_VERSION, "OrganizationRuntime", "organizationruntimes", namespaced=False),
    Kind(API_VERSION, "AgentPackage", "agentpackages"),
    Kind(API_VERSION, "MemoryPool", "memorypools"),
)
WATCHED: Final = tuple(kind for kind in KINDS if kind.watched)

_BY_NAME: Final = {(kind.api_version, kind.name): kind for kind in KINDS}


def kind_of(key: ObjectKey) -> Kind:
    """Return the kind of a key; asking for one that is not in the table is a bug (`KeyError`)."""
    return _BY_NAME[key.api_version, key.kind]


def path_of(key: ObjectKey, subresource: str = "") -> str:
    """Return the path of one object, or of its subresource."""
    suffix = f"/{subresource}" if subresource else ""
    return f"{kind_of(key).collection(key.namespace)}/{key.name}{suffix}"
