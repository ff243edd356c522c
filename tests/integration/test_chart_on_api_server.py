"""The rendered chart and the examples, judged by a real API server and by kubeconform.

Kubeconform also judges the operator's objects, which the API server sees in the tests of
reconciling.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl
from tests.cluster.progress import until
from tests.support import chart, definitions, kubeconform

Values = dict[str, Any]
Rendering = tuple[Values, tuple[str, ...]]
"""Values, and what is switched over them."""

FULL: Values = yaml.safe_load(chart.FULL_VALUES.read_text())
_OF_OTHERS = ("examples/gitops/argocd.yaml", "examples/package/")
"""A kind that this API server does not have, and what the packaging command reads."""

# What the operator makes of an organization, by the kind and name of each object.
CHILDREN = sorted((chart.ROOT / "tests/unit/controller/domain/golden").glob("*.json"))
EXAMPLES = [
    path
    for path in sorted((chart.ROOT / "examples").rglob("*.yaml"))
    if not path.relative_to(chart.ROOT).as_posix().startswith(_OF_OTHERS)
]


def _switches(values: Values, *above: str) -> Iterator[tuple[str, bool]]:
    for name, value in values.items():
        if isinstance(value, bool):
            yield ".".join((*above, name)), value
        elif isinstance(value, dict):
            yield from _switches(value, *above, name)


SWITCHES = dict(_switches(FULL))
DEFAULT: Rendering = ({}, ())
EVERYTHING_ON: Rendering = (FULL, tuple(f"--set={switch}=true" for switch in SWITCHES))
RENDERINGS: dict[str, Rendering] = {
    "default values": DEFAULT,
    "every value set": (FULL, ()),
    "everything on": EVERYTHING_ON,
    **{
        f"{switch} {'off' if on else 'on'}": (FULL, (f"--set={switch}={json.dumps(not on)}",))
        for switch, on in SWITCHES.items()
    },
}


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    with ControlPlane(tmp_path_factory.mktemp("chart")) as running:
        found = Kubectl(running.kubeconfig)
        found.run("create", "namespace", chart.NAMESPACE)
        found.apply(chart.text({}, "--no-hooks"))
        found.run("create", *(f"--filename={path}" for path in definitions.files()))
        chart.until_named(found)
        yield found


@pytest.fixture(scope="module")
def schemas(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [_rendered(EVERYTHING_ON), *(path.read_text() for path in EXAMPLES)]
    manifests = [manifest for text in texts for manifest in chart.read(text)]
    manifests += [child for file in CHILDREN for child in json.loads(file.read_text()).values()]
    folder = tmp_path_factory.mktemp("schemas")
    kinds = {(manifest["apiVersion"], manifest["kind"]) for manifest in manifests}
    kubeconform.write_schemas(kubectl, kinds, folder)
    return folder


@pytest.mark.parametrize(
    "rendering", [DEFAULT, EVERYTHING_ON], ids=["default values", "everything on"]
)
def test_the_api_server_knows_every_field_of_the_chart(
    kubectl: Kubectl, rendering: Rendering
) -> None:
    _dry_run(kubectl, _rendered(rendering))


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_the_api_server_knows_every_field_of_an_example(kubectl: Kubectl, example: Path) -> None:
    _dry_run(kubectl, example.read_text())


def test_kubeconform_finds_nothing_in_the_chart_whatever_is_switched(
    schemas: Path, tmp_path: Path
) -> None:
    texts = {name: _rendered(rendering) for name, rendering in RENDERINGS.items()}
    texts["bulkhead-crds"] = chart.text(chart=chart.CRDS_CHART)
    objects = 0
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
        objects += len(chart.read(text))
    assert kubeconform.judge([tmp_path], schemas) == objects


def test_kubeconform_finds_nothing_in_the_examples(schemas: Path) -> None:
    objects = sum(len(chart.read(path.read_text())) for path in EXAMPLES)
    assert kubeconform.judge(EXAMPLES, schemas) == objects


def test_kubeconform_finds_nothing_in_what_the_operator_makes(
    schemas: Path, tmp_path: Path
) -> None:
    objects = 0
    for file in CHILDREN:
        children = json.loads(file.read_text()).values()
        (tmp_path / f"{file.stem}.yaml").write_text(yaml.safe_dump_all(children))
        objects += len(children)
    assert kubeconform.judge([tmp_path], schemas) == objects > 0


DEPLOYMENT = "templates/deployment.yaml"
ALERTS = "templates/prometheusrule.yaml"
ACME = "examples/acme.yaml"
REFUSED = {
    "a misspelt field": (DEPLOYMENT, "replicas: 3", "replica: 3", "'replica' not allowed"),
    "a misspelt field deep inside": (
        DEPLOYMENT,
        "imagePullPolicy:",
        "imagePulPolicy:",
        "'imagePulPolicy' not allowed",
    ),
    "a misspelt namespace": (DEPLOYMENT, "namespace:", "namespaces:", "'namespaces' not allowed"),
    "a number in words": (DEPLOYMENT, "replicas: 3", "replicas: three", "want integer"),
    "a container without a name": (
        DEPLOYMENT,
        "- name: operator\n          image:",
        "- image:",
        "missing property 'name'",
    ),
    "a field twice": (
        DEPLOYMENT,
        "replicas: 3",
        "replicas: 3\n  replicas: 3",
        '"replicas" already set',
    ),
    "a kind that nobody knows": (
        DEPLOYMENT,
        "kind: Deployment",
        "kind: Deploiment",
        "could not find schema for Deploiment",
    ),
    "an alert without an expression": (ALERTS, "      expr:", "      exp:", "property 'expr'"),
    "a misspelt limit of an organization": (
        ACME,
        "maxMemoryMB:",
        "maxMemory:",
        "'maxMemory' not allowed",
    ),
    "a number of an organization in quotes": (
        ACME,
        "maxMemoryMB: 256",
        'maxMemoryMB: "256"',
        "got string, want integer",
    ),
    "a package without a version": (ACME, "  version: 1.0.0\n", "", "missing property 'version'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_kubeconform_refuses(schemas: Path, tmp_path: Path, case: str) -> None:
    source, right, wrong, complaint = REFUSED[case]
    if source == ACME:
        text = (chart.ROOT / source).read_text()
    else:
        text = _rendered(EVERYTHING_ON, "--show-only", source)
    assert right in text
    (tmp_path / "wrong.yaml").write_text(text.replace(right, wrong, 1))
    with pytest.raises(kubeconform.NotConformingError, match=complaint):
        kubeconform.judge([tmp_path], schemas)


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
        # A binding is known to who judges by it a moment after it is made.
        until(
            partial(_can, kubectl, "create", f"{resource}.bulkhead.dev", "org-first"),
            seconds=60,
            what=f"a tenant may create {resource}",
        )
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


def _rendered(rendering: Rendering, *flags: str) -> str:
    values, switches = rendering
    return chart.text(values, *switches, *flags)


def _dry_run(kubectl: Kubectl, text: str) -> None:
    for namespace in {one["metadata"].get("namespace", "default") for one in chart.read(text)}:
        if not kubectl.succeeds("get", "namespace", namespace):
            kubectl.run("create", "namespace", namespace)
    kubectl.run(
        *("apply", "--server-side", "--force-conflicts", "--dry-run=server"),
        *("--validate=strict", "--filename=-"),
        stdin=text,
    )
