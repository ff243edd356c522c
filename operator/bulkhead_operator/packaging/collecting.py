"""Reads an author's files.

    package.yaml               name, version and whatever else spec of an AgentPackage has
    agent.yaml, agents/*.yaml  one agent each, named like its file unless it says otherwise
    agent.md, agents/*.md      instructions of the agent whose file has the same name
    tools/*.json               one tool each, named like its file unless it says otherwise

Files are taken in the order of their names, so that the same files always make the same version.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import ValidationError

from bulkhead_api import package_manifest
from bulkhead_api.package_manifest import PackageManifest
from bulkhead_api.schema import ApiModel
from bulkhead_api.v1alpha1 import AgentPackage
from bulkhead_api.v1alpha1.agents import Agent, HttpTool
from bulkhead_operator.packaging.errors import PackagingError

PACKAGE_FILE: Final = "package.yaml"
MAX_FILE_BYTES: Final = 256 * 1024

_OF_FILES: Final = ("agents", "tools", "source")
_Model = TypeVar("_Model", bound=ApiModel)


@dataclass(frozen=True, slots=True)
class Collected:
    """A version as its author wrote it; `delivery` are the fields of spec beside the content."""

    manifest: PackageManifest
    delivery: dict[str, Any]


def collect(directory: Path) -> Collected:
    """Return what a folder holds; raise `PackagingError` naming the file that is not right."""
    described = _mapping(directory / PACKAGE_FILE, yaml.safe_load)
    name, version = described.pop("name", None), described.pop("version", None)
    for field in _OF_FILES:
        if field in described:
            raise PackagingError(
                f"{PACKAGE_FILE}: {field} must not be given: agents come from agent.yaml and "
                "agents/*.yaml, tools from tools/*.json, and the source from the command"
            )
    agents = tuple(_agent(path) for path in _agent_files(directory))
    tools = tuple(_tool(path) for path in sorted((directory / "tools").glob("*.json")))
    if not agents:
        raise PackagingError(f"{directory}: no agent: write agent.yaml or agents/NAME.yaml")
    _check_delivery(name, version, described)
    try:
        manifest = PackageManifest.of(name, version, agents, tools)
    except ValidationError as error:
        raise PackagingError(f"{directory}: {package_manifest.reason(error)}") from error
    return Collected(manifest, described)


def _agent_files(directory: Path) -> Iterable[Path]:
    alone = directory / "agent.yaml"
    if alone.exists():
        yield alone
    yield from sorted((directory / "agents").glob("*.yaml"))


def _agent(path: Path) -> Agent:
    fields = _mapping(path, yaml.safe_load)
    instructions = path.with_suffix(".md")
    if instructions.exists():
        if "instructions" in fields:
            raise PackagingError(
                f"{path.name}: instructions stand in {instructions.name} too: keep one of them"
            )
        fields["instructions"] = _text(instructions).strip()
    return _validated(Agent, {"name": path.stem, **fields}, path)


def _tool(path: Path) -> HttpTool:
    return _validated(HttpTool, {"name": path.stem, **_mapping(path, json.loads)}, path)


def _check_delivery(name: object, version: object, delivery: dict[str, Any]) -> None:
    """Refuse what the API server would refuse as soon as it is seen."""
    body = {
        "metadata": {"name": str(name)},
        "spec": {"version": version, **delivery},
    }
    try:
        AgentPackage.model_validate(body)
    except ValidationError as error:
        raise PackagingError(f"{PACKAGE_FILE}: {package_manifest.reason(error)}") from error


def _validated(model: type[_Model], fields: dict[str, Any], path: Path) -> _Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise PackagingError(f"{path.name}: {package_manifest.reason(error)}") from error


def _mapping(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        content = parse(_text(path))
    except (yaml.YAMLError, ValueError) as error:
        raise PackagingError(f"{path.name}: cannot be parsed: {error}") from error
    if not isinstance(content, dict):
        raise PackagingError(f"{path.name}: must hold fields with values")
    return content


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PackagingError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise PackagingError(f"{path.name}: has more than {MAX_FILE_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise PackagingError(f"{path.name}: is no UTF-8 text") from None
