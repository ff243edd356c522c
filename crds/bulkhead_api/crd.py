"""Turns the pydantic kinds into CustomResourceDefinitions.

Pydantic speaks JSON schema, the API server "structural" OpenAPI v3: no references, no unions with
null, no titles. The differences are exactly the steps below.
"""

import json
from typing import Any

from bulkhead_api.names import CATEGORY, GROUP, VERSION
from bulkhead_api.schema import CustomResource
from bulkhead_api.v1alpha1 import AgentPackage, MemoryPool, OrganizationRuntime

KINDS: tuple[type[CustomResource], ...] = (OrganizationRuntime, AgentPackage, MemoryPool)

_DROPPED = ("title", "additionalProperties", "$defs", "discriminator")


def structural(schema: dict[str, Any]) -> dict[str, Any]:
    """Return `schema` as a structural schema: references inlined, optional unions resolved."""
    return _inline(schema, schema.get("$defs", {}))


def _inline(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[1]
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        return _inline({**definitions[name], **siblings}, definitions)
    if "allOf" in node and len(node["allOf"]) == 1:
        siblings = {key: value for key, value in node.items() if key != "allOf"}
        return _inline({**node["allOf"][0], **siblings}, definitions)
    if "anyOf" in node:
        (member,) = [part for part in node["anyOf"] if part.get("type") != "null"]
        siblings = {key: value for key, value in node.items() if key != "anyOf"}
        return _inline(_merged(member, siblings), definitions)
    return _structural_node(node, definitions)


def _merged(member: dict[str, Any], siblings: dict[str, Any]) -> dict[str, Any]:
    validations = [
        *member.get("x-kubernetes-validations", []),
        *siblings.get("x-kubernetes-validations", []),
    ]
    merged = {**member, **siblings}
    if validations:
        merged["x-kubernetes-validations"] = validations
    return merged


def _structural_node(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    result = {key: value for key, value in node.items() if key not in _DROPPED}
    if "properties" in node:
        result["properties"] = {
            name: _inline(child, definitions) for name, child in node["properties"].items()
        }
    if isinstance(node.get("additionalProperties"), dict):
        result["additionalProperties"] = _inline(node["additionalProperties"], definitions)
    if isinstance(node.get("items"), dict):
        result["items"] = _told_defaults(_inline(node["items"], definitions))
    if result.get("default", ...) is None:
        del result["default"]
    if "default" in result:
        # In full, because the API server holds CEL rules against it before nested defaults.
        result["default"] = _without_null(result["default"])
    if "const" in result:
        result["enum"] = [result.pop("const")]
    return result


def _told_defaults(node: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list's items with defaults that are told instead of filled in.

    Who applies client-side, as Argo CD does by default, sends a list as a whole: what the API
    server had added to its items would differ from Git forever. Our models fill it in.
    """
    told = {key: value for key, value in node.items() if key != "default"}
    if node.get("default"):
        told["description"] = f"{node['description']} {json.dumps(node['default'])} when absent."
    if "properties" in node:
        told["properties"] = {
            name: _told_defaults(child) for name, child in node["properties"].items()
        }
    return told


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return value


def definition(kind: type[CustomResource]) -> dict[str, Any]:
    """Return the CustomResourceDefinition of `kind`."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": kind.scope,
            "names": {
                "kind": kind.kind_name,
                "listKind": f"{kind.kind_name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short_name],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.as_manifest() for column in kind.columns],
                    "schema": {"openAPIV3Schema": _object_schema(kind)},
                }
            ],
        },
    }


def _object_schema(kind: type[CustomResource]) -> dict[str, Any]:
    fields = kind.model_fields
    schema = structural(kind.model_json_schema(by_alias=True))
    properties = schema["properties"]
    properties["spec"]["description"] = fields["spec"].description
    properties["status"] |= {
        "description": fields["status"].description,
        # A fresh object must not read as healthy before the operator has seen it.
        "default": {"observedGeneration": -1},
    }
    result: dict[str, Any] = {
        "description": kind.__doc__,
        "type": "object",
        "required": [name for name in schema.get("required", []) if name != "metadata"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": properties["spec"],
            "status": properties["status"],
        },
    }
    if not result["required"]:
        del result["required"]
    if kind.object_rules:
        result["x-kubernetes-validations"] = list(kind.object_rules)
    return result
