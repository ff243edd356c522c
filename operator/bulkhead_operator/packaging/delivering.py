"""What is applied to a cluster to deliver a version: the resource, and the ConfigMap it names."""

from dataclasses import dataclass
from typing import Any, Final

import yaml

from bulkhead_api.names import API_VERSION
from bulkhead_api.package_manifest import PackageManifest
from bulkhead_operator.packaging.artifact import Artifact
from bulkhead_operator.packaging.collecting import Collected

MANIFEST_FILE: Final = "package.json"
RESOURCES_FILE: Final = "agentpackage.yaml"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the content is to lie: a ConfigMap, a repository, or the resource itself."""

    config_map: str | None = None
    repository: str | None = None
    pull_secret: str | None = None


def resources(collected: Collected, place: Place, namespace: str | None) -> list[dict[str, Any]]:
    """Return the objects to apply, in the order in which they are needed."""
    manifest = collected.manifest
    spec = {"version": manifest.version, **_content(manifest, place), **collected.delivery}
    package = _object("AgentPackage", API_VERSION, manifest.package, namespace) | {"spec": spec}
    if place.config_map is None:
        return [package]
    text = manifest.written().decode()
    holder = _object("ConfigMap", "v1", place.config_map, namespace)
    return [holder | {"data": {MANIFEST_FILE: text}}, package]


def written(objects: list[dict[str, Any]]) -> str:
    """Return objects as YAML that people can read; the same objects make the same bytes."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _content(manifest: PackageManifest, place: Place) -> dict[str, Any]:
    if place.config_map is not None:
        return {"source": {"configMap": {"name": place.config_map, "key": MANIFEST_FILE}}}
    if place.repository is not None:
        oci = {"reference": f"{place.repository}@{Artifact.of(manifest).digest}"}
        secret = {"pullSecretName": place.pull_secret} if place.pull_secret else {}
        return {"source": {"oci": {**oci, **secret}}}
    dumped = manifest.model_dump(by_alias=True, exclude_defaults=True, mode="json")
    return {name: dumped[name] for name in ("agents", "tools") if name in dumped}


def _object(kind: str, api_version: str, name: str, namespace: str | None) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, for reviews."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
