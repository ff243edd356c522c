"""After `helm uninstall`, whatever is left can be deleted although no operator runs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead_api.names import FINALIZER
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl
from tests.support import chart

ACCOUNT = "bulkhead-release"
FOREIGN = "example.com/keep"


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("release")) as running:
        kubectl = Kubectl(running.kubeconfig)
        kubectl.run("create", "namespace", chart.NAMESPACE)
        for manifest in chart.render().manifests:
            if manifest["metadata"]["name"] == ACCOUNT and manifest["kind"] != "Job":
                kubectl.apply(json.dumps(manifest))
        yield running


@pytest.fixture(scope="module")
def kubectl(control_plane: ControlPlane) -> Kubectl:
    return Kubectl(control_plane.kubeconfig)


@pytest.fixture(scope="module")
def credentials(control_plane: ControlPlane) -> Path:
    """The kubeconfig of the account that the chart's Job runs under."""
    return control_plane.kubeconfig_for(chart.NAMESPACE, ACCOUNT)


def _release(credentials: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bulkhead_operator.release"],
        env={
            **os.environ,
            "KUBECONFIG": str(credentials),
            "PYTHONPATH": os.pathsep.join(str(chart.ROOT / part) for part in ("crds", "operator")),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def _organization(name: str, *finalizers: str) -> str:
    return json.dumps(
        {
            "apiVersion": "bulkhead.dev/v1alpha1",
            "kind": "OrganizationRuntime",
            "metadata": {"name": name, "finalizers": list(finalizers)},
            "spec": {},
        }
    )


def test_without_the_definitions_there_is_nothing_to_do(credentials: Path) -> None:
    done = _release(credentials)
    assert done.returncode == 0, done.stderr


def test_what_is_left_can_be_deleted(kubectl: Kubectl, credentials: Path) -> None:
    _install_definitions(kubectl)
    kubectl.apply(_organization("left", FINALIZER))
    kubectl.apply(_organization("shared", FOREIGN, FINALIZER))
    kubectl.apply(_organization("leaving", FINALIZER))
    kubectl.run("delete", "orgrt", "leaving", "--wait=false")
    pool = {"apiVersion": "bulkhead.dev/v1alpha1", "kind": "MemoryPool", "spec": {}}
    metadata = {"name": "default", "namespace": "default", "finalizers": [FINALIZER]}
    kubectl.apply(json.dumps({**pool, "metadata": metadata}))

    done = _release(credentials)
    assert done.returncode == 0, done.stderr

    assert not kubectl.succeeds("get", "orgrt", "leaving")
    kubectl.run("delete", "orgrt", "left", "--timeout=60s")
    kubectl.run("delete", "mempool", "default", "--timeout=60s")
    # Somebody else's finalizer is theirs.
    assert kubectl.get("orgrt", "shared")["metadata"]["finalizers"] == [FOREIGN]


def test_released_objects_are_left_alone(kubectl: Kubectl, credentials: Path) -> None:
    _install_definitions(kubectl)
    kubectl.apply(_organization("untouched", FOREIGN))
    before = kubectl.get("orgrt", "untouched")["metadata"]["resourceVersion"]
    assert _release(credentials).returncode == 0
    assert kubectl.get("orgrt", "untouched")["metadata"]["resourceVersion"] == before


def test_an_account_without_rights_is_told_so(control_plane: ControlPlane) -> None:
    _install_definitions(Kubectl(control_plane.kubeconfig))
    done = _release(control_plane.kubeconfig_for(chart.NAMESPACE, "nobody"))
    assert done.returncode == 1
    assert "finalizers were not released" in done.stderr
    assert "Traceback" not in done.stderr


def _install_definitions(kubectl: Kubectl) -> None:
    definitions = chart.render().of("CustomResourceDefinition")
    kubectl.apply("\n---\n".join(json.dumps(definition) for definition in definitions))
    chart.until_named(kubectl)
