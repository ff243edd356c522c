"""The generated CustomResourceDefinitions keep the promises that users and GitOps tools rely on."""

from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead_api.crd import KINDS, definition
from bulkhead_api.schema import CustomResource

IDS = [kind.kind_name for kind in KINDS]


def schema_of(kind: type[CustomResource]) -> dict[str, Any]:
    (version,) = definition(kind)["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def nodes(path: str, node: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(f"{path}.{name}", child)
    if isinstance(node.get("items"), dict):
        yield from nodes(f"{path}[]", node["items"])


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_every_field_is_explained(kind: type[CustomResource]) -> None:
    unexplained = [
        path
        for path, node in nodes("", schema_of(kind))
        if path.startswith((".spec", ".status"))
        and not path.endswith("[]")
        and not node.get("description")
    ]
    assert unexplained == []


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_every_value_that_a_person_writes_is_bounded(kind: type[CustomResource]) -> None:
    bounds = {
        "string": {"maxLength", "enum"},
        "array": {"maxItems"},
        "integer": {"maximum"},
        "boolean": {"type"},
        "object": {"properties", "maxProperties"},
    }
    unbounded = [
        path
        for path, node in nodes("", schema_of(kind))
        if path.startswith(".spec") and not bounds[node["type"]] & node.keys()
    ]
    assert unbounded == []


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_a_fresh_object_never_reads_as_healthy(kind: type[CustomResource]) -> None:
    assert schema_of(kind)["properties"]["status"]["default"] == {"observedGeneration": -1}


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_nothing_is_added_to_a_list_that_git_would_see_as_a_difference(
    kind: type[CustomResource],
) -> None:
    added = [
        path for path, node in nodes("", schema_of(kind)) if "[]" in path and "default" in node
    ]
    assert added == []


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_the_schema_is_structural(kind: type[CustomResource]) -> None:
    forbidden = {"$ref", "anyOf", "allOf", "title", "const", "additionalProperties"}
    found = {
        (path, keyword)
        for path, node in nodes("", schema_of(kind))
        for keyword in forbidden & node.keys()
    }
    assert found == set()


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_every_rule_tells_a_person_what_to_do(kind: type[CustomResource]) -> None:
    messages = [
        validation["message"]
        for _, node in nodes("", schema_of(kind))
        for validation in node.get("x-kubernetes-validations", [])
    ]
    assert messages
    assert all("must" in message or "immutable" in message for message in messages)


def test_an_organization_prints_what_a_person_asks_for_first() -> None:
    (version,) = definition(KINDS[0])["spec"]["versions"]
    shown = [
        column["name"]
        for column in version["additionalPrinterColumns"]
        if not column.get("priority")
    ]
    assert shown == ["State", "Ready", "Reason", "URL", "Agents", "Age"]
