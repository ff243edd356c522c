"""The stub provider as pods reach it: its source in a ConfigMap, run by the runtime's own image."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.cluster.kubectl import Kubectl
from tests.cluster.places import ROOT
from tests.performance.harness.rounds import MeasurementError
from tests.performance.rows.local_cluster import remove, unique

CHUNKS = 100
LONG_STREAM = f"stub/words;chunks={CHUNKS};delay_ms=30"
_PORT = 8000
_LABELS = {"example.com/app": "stub-provider"}
_SOURCES = "/opt/stub"


@dataclass(frozen=True)
class Provider:
    """Where the stub answers, in the words of an OrganizationRuntime's spec."""

    namespace: str

    def as_spec(self) -> dict[str, Any]:
        """Return the entry of `spec.models.providers`."""
        url = f"http://stub.{self.namespace}.svc:{_PORT}/v1"
        return {"name": "stub", "type": "OpenAICompatible", "baseURL": url}

    def as_egress(self) -> dict[str, Any]:
        """Return the entry of `spec.network.egress`."""
        return {"namespace": self.namespace, "ports": [_PORT]}


@contextmanager
def provider(kubectl: Kubectl) -> Iterator[Provider]:
    """Run the stub in a namespace of its own until the block ends."""
    namespace = unique("bench-models")
    items = [_sources(namespace), _deployment(namespace, _image(kubectl)), _service(namespace)]
    try:
        kubectl.run("create", "namespace", namespace)
        kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        where = (f"--namespace={namespace}", "--timeout=120s")
        kubectl.run("rollout", "status", "deployment/stub", *where)
        yield Provider(namespace)
    finally:
        remove(kubectl, "namespace", namespace)


def _image(kubectl: Kubectl) -> str:
    """Return the image that the operator gives to runtimes."""
    operators = kubectl.get("deployments", "--all-namespaces")["items"]
    for operator in operators:
        for container in operator["spec"]["template"]["spec"]["containers"]:
            for variable in container.get("env", ()):
                if variable["name"] == "BULKHEAD_RUNTIME_IMAGE":
                    image: str = variable["value"]
                    return image
    raise MeasurementError("no Deployment sets BULKHEAD_RUNTIME_IMAGE: is the chart installed?")


def _sources(namespace: str) -> dict[str, Any]:
    sources = (ROOT / "tests" / "support").glob("stub_provider*.py")
    data = {source.name: source.read_text() for source in sources}
    metadata = {"name": "stub", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _deployment(namespace: str, image: str) -> dict[str, Any]:
    container = {
        "name": "stub",
        "image": image,
        "command": ["python3", "-m", "tests.support.stub_provider"],
        "args": ["--port", str(_PORT), "--host", "0.0.0.0"],
        "env": [{"name": "PYTHONPATH", "value": f"{_SOURCES}:/opt/bulkhead"}],
        "workingDir": _SOURCES,
        "readinessProbe": {"tcpSocket": {"port": _PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "sources", "mountPath": f"{_SOURCES}/tests/support"}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "containers": [container],
        "volumes": [{"name": "sources", "configMap": {"name": "stub"}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "stub", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod},
        },
    }


def _service(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "stub", "namespace": namespace},
        "spec": {"selector": _LABELS, "ports": [{"port": _PORT}]},
    }
