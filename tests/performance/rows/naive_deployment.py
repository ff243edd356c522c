"""The same image as somebody would deploy it in a hurry: no probes, no drain, no surge on the node.

It is the positive control: load that a naive Deployment survives unharmed would prove nothing.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bulkhead_api.names import DATA_CLAIM, RUNTIME
from tests.cluster.kubectl import Kubectl
from tests.performance.rows.local_cluster import remove, unique

_LABELS = {"example.com/app": "naive-runtime"}
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@contextmanager
def copied(kubectl: Kubectl, source: str) -> Iterator[str]:
    """Deploy the runtime of the namespace `source` naively; yields the namespace of the copy."""
    namespace = unique("bench-naive")
    kubectl.run("create", "namespace", namespace)
    try:
        where = f"--namespace={source}"
        files = kubectl.get("configmaps,secrets", where)["items"]
        live = kubectl.get("deployment", RUNTIME, where)
        items = [_moved(each, namespace) for each in files]
        items += [_deployment(live, namespace), _service(namespace)]
        kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        _rolled_out(kubectl, namespace)
        yield namespace
    finally:
        remove(kubectl, "namespace", namespace)


def restart(kubectl: Kubectl, namespace: str, _number: int) -> None:
    """Replace the pod the usual way."""
    where = f"--namespace={namespace}"
    kubectl.run("rollout", "restart", f"deployment/{RUNTIME}", where)
    _rolled_out(kubectl, namespace)


def _rolled_out(kubectl: Kubectl, namespace: str) -> None:
    where = (f"--namespace={namespace}", "--timeout=120s")
    kubectl.run("rollout", "status", f"deployment/{RUNTIME}", *where)


def _moved(live: dict[str, Any], namespace: str) -> dict[str, Any]:
    kept: dict[str, Any] = {
        key: live[key] for key in ("apiVersion", "kind", "type", "data") if key in live
    }
    kept["metadata"] = {"name": live["metadata"]["name"], "namespace": namespace}
    return kept


def _deployment(live: dict[str, Any], namespace: str) -> dict[str, Any]:
    pod = live["spec"]["template"]["spec"]
    container = {key: value for key, value in pod["containers"][0].items() if key not in _PROBES}
    container["env"] = [
        {"name": variable["name"], "value": "0"}
        if variable["name"] == "BULKHEAD_DRAIN_SECONDS"
        else variable
        for variable in container["env"]
    ]
    volumes = [
        {"name": volume["name"], "emptyDir": {}}
        if volume.get("persistentVolumeClaim", {}).get("claimName") == DATA_CLAIM
        else volume
        for volume in pod["volumes"]
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": RUNTIME, "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": _LABELS},
            "template": {
                "metadata": {"labels": _LABELS},
                "spec": {
                    "automountServiceAccountToken": False,
                    "securityContext": pod["securityContext"],
                    "containers": [container],
                    "volumes": volumes,
                },
            },
        },
    }


def _service(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": RUNTIME, "namespace": namespace},
        "spec": {"selector": _LABELS, "ports": [{"port": 80, "targetPort": "http"}]},
    }
