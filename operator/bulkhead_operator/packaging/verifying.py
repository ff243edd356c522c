"""Checks that what was packaged is whole, and that its parts belong together."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from bulkhead_api import package_manifest
from bulkhead_api.package_manifest import MAX_MANIFEST_BYTES, ManifestError, PackageManifest
from bulkhead_api.v1alpha1 import AgentPackage
from bulkhead_operator.packaging.artifact import LAYOUT_FOLDER, Artifact
from bulkhead_operator.packaging.delivering import MANIFEST_FILE, RESOURCES_FILE
from bulkhead_operator.packaging.errors import PackagingError

_MOST_BYTES = 2 * MAX_MANIFEST_BYTES


def verify(directory: Path) -> PackageManifest:
    """Return the version that a folder holds; raise `PackagingError` for what is not right."""
    raw = _read(directory / MANIFEST_FILE)
    try:
        manifest = package_manifest.parse(raw)
    except ManifestError as error:
        raise PackagingError(f"{MANIFEST_FILE}: {error}") from error
    objects = _objects(directory / RESOURCES_FILE)
    package = _package(objects)
    if (package.metadata.name, package.spec.version) != (manifest.package, manifest.version):
        raise PackagingError(
            f"{RESOURCES_FILE}: holds {package.metadata.name} {package.spec.version}, but "
            f"{MANIFEST_FILE} {manifest.package} {manifest.version}"
        )
    _verify_content(package, manifest, raw, objects)
    if (directory / LAYOUT_FOLDER).exists():
        _verify_layout(directory / LAYOUT_FOLDER, Artifact.of(manifest))
    return manifest


def _verify_content(
    package: AgentPackage, manifest: PackageManifest, raw: bytes, objects: list[dict[str, Any]]
) -> None:
    source = package.spec.source
    if source is None:
        same = (package.spec.agents, package.spec.tools) == (manifest.agents, manifest.tools)
    elif source.oci is not None:
        same = source.oci.reference.endswith(f"@{Artifact.of(manifest).digest}")
    else:
        assert source.config_map is not None
        same = _data(objects, source.config_map.name, source.config_map.key) == raw.decode()
    if not same:
        raise PackagingError(
            f"{RESOURCES_FILE}: delivers other content than {MANIFEST_FILE} holds: package it again"
        )


def _verify_layout(layout: Path, artifact: Artifact) -> None:
    for name, content in artifact.files().items():
        if _read(layout / name) != content:
            raise PackagingError(
                f"{LAYOUT_FOLDER}/{name}: is not what {MANIFEST_FILE} makes: package it again"
            )


def _data(objects: list[dict[str, Any]], name: str, key: str) -> object:
    for one in objects:
        if one.get("kind") == "ConfigMap" and one.get("metadata", {}).get("name") == name:
            return one.get("data", {}).get(key)
    return None


def _package(objects: list[dict[str, Any]]) -> AgentPackage:
    found = [one for one in objects if one.get("kind") == "AgentPackage"]
    if len(found) != 1:
        raise PackagingError(f"{RESOURCES_FILE}: must hold one AgentPackage, not {len(found)}")
    try:
        return AgentPackage.model_validate(found[0])
    except ValidationError as error:
        raise PackagingError(f"{RESOURCES_FILE}: {package_manifest.reason(error)}") from error


def _objects(path: Path) -> list[dict[str, Any]]:
    try:
        return [one for one in yaml.safe_load_all(_read(path)) if isinstance(one, dict)]
    except yaml.YAMLError as error:
        raise PackagingError(f"{path.name}: cannot be parsed: {error}") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise PackagingError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise PackagingError(f"{path.name}: has more than {_MOST_BYTES} bytes")
    return content
