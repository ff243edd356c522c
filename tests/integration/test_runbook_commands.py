"""What runbooks and pages tell a person to type does something on a real API server."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import binaries
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubectl import Kubectl
from tests.support import chart
from tests.support.pages import ROOT, blocks, name, ticked

DOCS = ROOT / "docs"
PAGES = [
    *sorted((DOCS / "runbooks").glob("*.md")),
    *(DOCS / page for page in ("observability.md", "sre.md", "package-author.md")),
    DOCS / "author" / "rollouts.md",
]
THERE = """
apiVersion: bulkhead.dev/v1alpha1
kind: OrganizationRuntime
metadata: {name: acme}
spec: {}
---
apiVersion: bulkhead.dev/v1alpha1
kind: AgentPackage
metadata: {name: assistant, namespace: org-acme}
spec:
  version: 1.0.0
  agents: [{name: assistant, instructions: Be brief.}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: runtime, namespace: org-acme}
spec:
  selector: {matchLabels: {app: runtime}}
  template:
    metadata: {labels: {app: runtime}}
    spec: {containers: [{name: runtime, image: runtime}]}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: bulkhead-operator, namespace: bulkhead-system}
"""
"""What the pages take as there: an organization, its package and runtime, the operator's lease."""


def commands(page: Path) -> list[str]:
    """Return the lines for a shell that need an API server; logs would need a kubelet besides."""
    told = [line for block in blocks(page) for line in block.splitlines()]
    found = {line.strip() for line in [*told, *ticked(page)]}
    return sorted(one for one in found if one.startswith("kubectl ") and " logs " not in one)


COMMANDS = [(page, command) for page in PAGES for command in commands(page)]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with ControlPlane(tmp_path_factory.mktemp("runbooks")) as running:
        kubectl = Kubectl(running.kubeconfig)
        for namespace in (chart.NAMESPACE, "org-acme"):
            kubectl.run("create", "namespace", namespace)
        kubectl.apply(chart.text({}, "--no-hooks"))
        chart.until_named(kubectl)
        kubectl.apply(THERE)
        folder = binaries.ensure("kubectl")["kubectl"].parent
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        yield {**os.environ, "KUBECONFIG": str(running.kubeconfig), "PATH": path}


@pytest.mark.parametrize(
    ("page", "command"), COMMANDS, ids=[f"{name(page)}: {command}" for page, command in COMMANDS]
)
def test_a_command_does_what_it_says(shell: dict[str, str], page: Path, command: str) -> None:
    done = subprocess.run(
        ["bash", "-ec", command], env=shell, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
