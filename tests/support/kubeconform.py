"""Kubeconform: judges manifests by JSON schemas, as a pipeline without a cluster would.

Its usual schemas lie on the internet. These are the ones that a running API server publishes for
every kind it knows, closed so that a field which no schema names is refused.
"""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.cluster import binaries
from tests.cluster.kubectl import Kubectl
from tests.cluster.progress import ClusterError, until

Kind = tuple[str, str]
"""apiVersion and kind."""

_LAYOUT = "{{ .Group }}/{{ .ResourceAPIVersion }}/{{ .ResourceKind }}.json"
_ALL_OF_A_VERSION = "all.json"
# A definition is published a moment after it is established.
_PUBLISHED_SECONDS = 30.0

_Schema = dict[str, Any]


class NotConformingError(Exception):
    """Kubeconform refused objects; the text is what it said of each."""


def write_schemas(kubectl: Kubectl, kinds: Iterable[Kind], folder: Path) -> None:
    """Write the schema of each kind below `folder`, where `judge` finds it."""
    by_version: dict[str, set[str]] = {}
    for version, kind in kinds:
        by_version.setdefault(version, set()).add(kind)
    for version, wanted in by_version.items():
        schemas = _published(kubectl, version, wanted)
        for schema in schemas.values():
            _close(schema)
        # A core version, such as v1, stands in the place of the group too.
        group, _, last = version.rpartition("/")
        here = folder / (group or last) / last
        here.mkdir(parents=True)
        whole = {"components": {"schemas": schemas}}
        (here / _ALL_OF_A_VERSION).write_text(json.dumps(whole))
        for kind, name in _names(schemas, version).items():
            reference = {"$ref": f"{_ALL_OF_A_VERSION}#/components/schemas/{name}"}
            (here / f"{kind.lower()}.json").write_text(json.dumps(reference))


def judge(files: Iterable[Path], schemas: Path) -> int:
    """Return how many objects in these files and folders conform.

    Raises `NotConformingError` when one does not; one without a schema does not either.
    """
    program = binaries.ensure("kubeconform")["kubeconform"]
    flags = ("-strict", "-summary", "-output", "json", "-schema-location", schemas / _LAYOUT)
    done = subprocess.run([program, *flags, *files], capture_output=True, text=True, check=False)
    if not done.stdout:
        raise NotConformingError(done.stderr)
    said = json.loads(done.stdout)
    if done.returncode != 0:
        raise NotConformingError("\n".join(map(_complaint, said["resources"])))
    return int(said["summary"]["valid"])


def _complaint(resource: dict[str, Any]) -> str:
    return "{filename}: {kind} {name}: {msg}".format(**resource)


def _published(kubectl: Kubectl, version: str, wanted: set[str]) -> dict[str, _Schema]:
    path = f"apis/{version}" if "/" in version else f"api/{version}"
    found: dict[str, _Schema] = {}

    def there() -> bool:
        try:
            said = kubectl.run("get", "--raw", f"/openapi/v3/{path}")
        except ClusterError:
            return False
        found.update(json.loads(said)["components"]["schemas"])
        return wanted <= _names(found, version).keys()

    what = f"The API server publishes {', '.join(sorted(wanted))} of {version}"
    until(there, seconds=_PUBLISHED_SECONDS, what=what)
    return found


def _names(schemas: dict[str, _Schema], version: str) -> dict[str, str]:
    """Return the name of the schema of every kind of a version."""
    group, _, last = version.rpartition("/")
    return {
        each["kind"]: name
        for name, schema in schemas.items()
        for each in schema.get("x-kubernetes-group-version-kind", ())
        if (each["group"], each["version"]) == (group, last)
    }


def _close(schema: _Schema) -> None:
    """Let an object have only the fields that are named, here and in every schema inside."""
    fields = schema.get("properties", {})
    if fields and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    for inner in (*fields.values(), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            _close(inner)
