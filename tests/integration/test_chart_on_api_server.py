"""The rendered chart and the examples, judged by a real API server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl
from tests.cluster.progress import ClusterError
from tests.support import chart

FULL: dict[str, Any] = yaml.safe_load(chart.FULL_VALUES.read_text())
# Kinds that the Prometheus operator brings; this API server does not know them.
FOREIGN = {"ServiceMonitor", "PodMonitor"}
_OF_OTHERS = ("examples/gitops/argocd.yaml", "examples/gitops/flux.yaml", "examples/package/")
"""Kinds that this API server does not have, and what the packaging command reads."""

EXAMPLES = [
    path
    for path in sorted((chart.ROOT / "examples").rglob("*.yaml"))
    if not path.relative_to(chart.ROOT).as_posix().startswith(_OF_OTHERS)
]


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    with ControlPlane(tmp_path_factory.mktemp("chart")) as running:
        found = Kubectl(running.kubeconfig)
        found.run("create", "namespace", chart.NAMESPACE)
        found.apply(chart.text({}, "--no-hooks"))
        names = [each["metadata"]["name"] for each in chart.render().of("CustomResourceDefinition")]
        wanted = [f"crd/{name}" for name in names]
        found.run("wait", "--for=condition=Established", *wanted, "--timeout=30s")
        yield found


@pytest.mark.parametrize("values", [{}, FULL], ids=["default values", "every value set"])
def test_the_api_server_knows_every_field_of_the_chart(
    kubectl: Kubectl, values: dict[str, Any]
) -> None:
    for manifest in chart.render(values).manifests:
        if manifest["kind"] not in FOREIGN:
            _dry_run(kubectl, manifest)


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_the_api_server_knows_every_field_of_an_example(kubectl: Kubectl, example: Path) -> None:
    for manifest in yaml.safe_load_all(example.read_text()):
        namespace = manifest["metadata"].get("namespace")
        if namespace is not None and not kubectl.succeeds("get", "namespace", namespace):
            kubectl.run("create", "namespace", namespace)
        _dry_run(kubectl, manifest)


@pytest.mark.parametrize("name", ["acme", "globex"])
def test_an_example_is_applied_in_one_go_on_a_fresh_cluster(kubectl: Kubectl, name: str) -> None:
    kubectl.run("apply", "--filename", chart.ROOT / "examples" / f"{name}.yaml")
    assert kubectl.get("orgrt", name)["spec"]["namespace"] == f"org-{name}"
    package = kubectl.get("agpkg", "assistant", f"--namespace=org-{name}")
    assert [agent["name"] for agent in package["spec"]["agents"]] == ["assistant"]
    # Nothing has looked at it yet, and nothing may take it for healthy.
    assert kubectl.get("orgrt", name)["status"]["observedGeneration"] == -1


def test_the_upgrade_example_is_a_new_version_of_the_same_package(kubectl: Kubectl) -> None:
    examples = chart.ROOT / "examples"
    kubectl.run("apply", "--filename", examples / "acme.yaml")
    kubectl.run("apply", "--filename", examples / "upgrade" / "acme-assistant-v2.yaml")
    package = kubectl.get("agpkg", "assistant", "--namespace=org-acme")
    assert package["spec"]["version"] == "2.0.0"


def test_a_tenant_writes_packages_and_pools_in_its_own_namespace_only(kubectl: Kubectl) -> None:
    for namespace in ("org-first", "org-second"):
        kubectl.run("create", "namespace", namespace)
    kubectl.run(
        *("create", "rolebinding", "tenant", "--clusterrole=bulkhead-tenant"),
        *("--user=jane", "--namespace=org-first"),
    )
    for resource in ("agentpackages", "memorypools"):
        assert _can(kubectl, "create", f"{resource}.bulkhead.dev", "org-first")
        assert not _can(kubectl, "get", f"{resource}.bulkhead.dev", "org-second")
        assert not _can(kubectl, "patch", f"{resource}.bulkhead.dev", "org-first", status=True)
    for resource in ("secrets", "pods", "configmaps", "deployments.apps", "networkpolicies"):
        assert not _can(kubectl, "get", resource, "org-first")
    assert not _can(kubectl, "list", "organizationruntimes.bulkhead.dev", "org-first")


def _can(
    kubectl: Kubectl, verb: str, resource: str, namespace: str, *, status: bool = False
) -> bool:
    part = ["--subresource=status"] if status else []
    question = ["auth", "can-i", verb, resource, "--as=jane", f"--namespace={namespace}"]
    return kubectl.succeeds(*question, *part)


def _dry_run(kubectl: Kubectl, manifest: dict[str, Any]) -> None:
    try:
        kubectl.run(
            *("apply", "--server-side", "--force-conflicts", "--dry-run=server"),
            *("--validate=strict", "--filename=-"),
            stdin=json.dumps(manifest),
        )
    except ClusterError as error:
        pytest.fail(f"{manifest['kind']} {manifest['metadata']['name']}: {error}")
