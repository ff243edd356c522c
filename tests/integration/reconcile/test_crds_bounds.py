"""Every bound of the three kinds, broken one at a time at a real API server."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead_api.crd import definition
from bulkhead_api.v1alpha1 import AgentPackage, MemoryPool, OrganizationRuntime
from tests.integration.reconcile.conftest import World
from tests.support import full_specs
from tests.support.api_observer import OURS, Object

VALID: dict[str, Object] = {
    "organizationruntimes": full_specs.ORGANIZATION,
    "agentpackages": full_specs.PACKAGE,
    "memorypools": full_specs.POOL,
}
KINDS = {kind.plural: kind for kind in (OrganizationRuntime, AgentPackage, MemoryPool)}

Path = tuple[str | int, ...]


def schema_of(plural: str) -> Object:
    (version,) = definition(KINDS[plural])["spec"]["versions"]
    spec: Object = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def leaves(node: Object, path: Path = ()) -> Iterator[tuple[Path, Object]]:
    """Yield every field of a schema with its path; lists are entered at their first item."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from leaves(child, (*path, name))
    if "items" in node:
        yield from leaves(node["items"], (*path, 0))


def broken_values(node: Object) -> Iterator[tuple[str, Any]]:
    """Yield values just outside of each bound of a field."""
    if "minimum" in node:
        yield "below its minimum", node["minimum"] - 1
    if "maximum" in node:
        yield "above its maximum", node["maximum"] + 1
    if node.get("type") == "string":
        if "maxLength" in node and "enum" not in node:
            yield "too long", "a" * (node["maxLength"] + 1)
        if "pattern" in node:
            yield "against its pattern", "~ ~;"
        if "enum" in node:
            yield "not one of its values", "Nonsense"
    if node.get("type") == "array":
        if node.get("minItems"):
            yield "empty", []
        yield "not a list", "text"
    if node.get("type") in {"integer", "boolean"}:
        yield "of another type", "text"


def cases() -> Iterator[Any]:
    for plural in VALID:
        for path, node in leaves(schema_of(plural)):
            for why, value in broken_values(node):
                name = ".".join(str(part) for part in path)
                yield pytest.param(plural, path, value, id=f"{plural} {name} {why}")


def with_value(spec: Object, path: Path, value: Any) -> Object:
    changed = copy.deepcopy(spec)
    node: Any = changed
    for part in path[:-1]:
        if isinstance(node, dict) and part not in node:
            node[part] = {}
        node = node[part]
    node[path[-1]] = value
    return changed


async def dry_run(world: World, plural: str, spec: Object, name: str = "") -> tuple[int, str]:
    """Return status and message of a creation that is only tried."""
    kind = KINDS[plural]
    metadata = {"name": name or ("default" if plural == "memorypools" else "acme")}
    scope = "" if kind.scope == "Cluster" else "/namespaces/default"
    manifest = {
        "apiVersion": "bulkhead.dev/v1alpha1",
        "kind": kind.kind_name,
        "metadata": metadata,
        "spec": spec,
    }
    status, answer = await world.api.call("POST", f"{OURS}{scope}/{plural}?dryRun=All", manifest)
    return status, str(answer.get("message", ""))


@pytest.mark.parametrize("plural", VALID)
async def test_a_valid_object_is_accepted(world: World, plural: str) -> None:
    status, message = await dry_run(world, plural, VALID[plural])
    assert status == 201, message


@pytest.mark.parametrize(("plural", "path", "value"), list(cases()))
async def test_a_value_outside_of_its_bound_is_refused_by_name(
    world: World, plural: str, path: Path, value: Any
) -> None:
    status, message = await dry_run(world, plural, with_value(VALID[plural], path, value))
    assert status == 422, message
    field = next(str(part) for part in reversed(path) if isinstance(part, str))
    assert field in message
    assert "Invalid value" in message or "Unsupported value" in message or "Too" in message
