"""The organization's endpoint in the cluster, and how few of its pods may go at once."""

from bulkhead_api.names import RUNTIME, SERVICE_PORT
from bulkhead_operator.cluster.port import Manifest
from bulkhead_operator.resources import labels
from bulkhead_operator.resources.blueprint import Blueprint


def service(blueprint: Blueprint) -> Manifest:
    """Return the Service: the public port and nothing else."""
    return blueprint.child("v1", "Service", RUNTIME) | {
        "spec": {
            "type": "ClusterIP",
            "selector": labels.selector(blueprint.name),
            "ports": [
                {"name": "http", "port": SERVICE_PORT, "targetPort": "http", "protocol": "TCP"}
            ],
        }
    }


def disruption_budget(blueprint: Blueprint) -> Manifest:
    """Return the budget: a node can always be drained, one pod at a time."""
    return blueprint.child("policy/v1", "PodDisruptionBudget", RUNTIME) | {
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": labels.selector(blueprint.name)},
        }
    }
