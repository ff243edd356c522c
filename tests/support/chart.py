"""The chart as Helm renders it."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import binaries
from tests.cluster.kubectl import Kubectl
from tests.cluster.progress import until

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "bulkhead"
CRDS_CHART = ROOT / "charts" / "bulkhead-crds"
FULL_VALUES = ROOT / "tests" / "unit" / "chart" / "full_values.yaml"
"""Every value set to something else than its default."""
NAMESPACE = "bulkhead-system"

Manifest = dict[str, Any]


class HelmError(Exception):
    """Helm ended with an error; the text is what it told the person."""


def helm(*arguments: str, stdin: str | None = None) -> str:
    """Run Helm and return what it printed."""
    program = binaries.ensure("helm")["helm"]
    done = subprocess.run(
        [program, *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise HelmError(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def text(values: Mapping[str, Any] | None = None, *flags: str, chart: Path = CHART) -> str:
    """Render the chart with these values over its own."""
    command = ["template", "bulkhead", str(chart), "--namespace", NAMESPACE, "--values", "-"]
    return helm(*command, *flags, stdin=json.dumps(values or {}))


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendering."""

    manifests: tuple[Manifest, ...]

    def of(self, kind: str) -> list[Manifest]:
        """Return all objects of a kind."""
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def one(self, kind: str, name: str) -> Manifest:
        """Return the object of that kind and name."""
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found


def read(manifests: str) -> tuple[Manifest, ...]:
    """Return the objects of a text of YAML."""
    # With the parser in C, because definitions and dashboards are long.
    documents = yaml.load_all(manifests, yaml.CSafeLoader)
    return tuple(document for document in documents if document)


def render(values: Mapping[str, Any] | None = None, *flags: str, chart: Path = CHART) -> Rendered:
    """Render the chart and read what came out."""
    return Rendered(read(text(values, *flags, chart=chart)))


def until_named(kubectl: Kubectl) -> None:
    """Wait until the API server names every kind that it has definitions of to who discovers.

    It establishes and serves a kind some moments before it names it, and kubectl writes nothing
    whose kind is not named.
    """
    kinds = ",".join(one["metadata"]["name"] for one in kubectl.get("crd")["items"])

    def named() -> bool:
        return kubectl.succeeds("get", kinds, "--all-namespaces")

    until(named, seconds=120, what=f"The API server names {kinds}")
