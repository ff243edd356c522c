"""What the operator may do in this namespace and in no other, and who the runtime is."""

from typing import Final

from bulkhead_api.names import RUNTIME
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources.blueprint import Blueprint

CLUSTER_ROLE: Final = "bulkhead-operator-organization"
"""The one role that the operator may bind: Secrets and pods of an organization."""

OPERATOR: Final = "bulkhead-operator"
"""The operator's ServiceAccount, and the name of its RoleBinding."""


def role_binding(blueprint: Blueprint) -> Manifest:
    """Return what lets the operator write Secrets and touch pods here."""
    return blueprint.child("rbac.authorization.k8s.io/v1", "RoleBinding", OPERATOR) | {
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": CLUSTER_ROLE,
        },
        "subjects": [
            {
                "kind": "ServiceAccount",
                "name": OPERATOR,
                "namespace": blueprint.settings.namespace,
            }
        ],
    }


def service_account(blueprint: Blueprint) -> Manifest:
    """Return the runtime's identity, which has no token and no right."""
    return blueprint.child("v1", "ServiceAccount", RUNTIME) | {
        "automountServiceAccountToken": False
    }
