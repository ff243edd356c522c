"""Vocabulary to say in a pydantic model what only a CustomResourceDefinition can hold.

Models carry CEL rules, list semantics and printed columns as plain data; `crd` turns them into
OpenAPI. The API server, not the operator, is the first to refuse what is wrong.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict


class ApiModel(BaseModel):
    """Immutable, camelCase on the wire, refuses unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
    )


class StatusModel(ApiModel):
    """What the operator writes: unknown fields of other versions are kept out, not refused."""

    model_config = ConfigDict(extra="ignore")


def rule(
    expression: str, message: str, *, value: str | None = None, field_path: str | None = None
) -> JsonDict:
    """Return one CEL rule of `x-kubernetes-validations`.

    `message` is what a person reads: it says what must hold and what to do instead. The API server
    puts the field before it, and the value too where `value`, a CEL expression, gives it as text
    (a bounded string: for a number the API server's cost estimate exceeds its budget).
    """
    validation: JsonDict = {"rule": expression, "message": message}
    if value is not None:
        # A CEL string literal: backslash and double quote are all that needs escaping here.
        literal = message.replace("\\", "\\\\").replace('"', '\\"')
        validation["messageExpression"] = f'{value} + " {literal}"'
    if field_path is not None:
        validation["fieldPath"] = field_path
    return validation


def rules(*validations: JsonDict) -> JsonDict:
    """Return the schema extension that holds CEL rules."""
    return {"x-kubernetes-validations": list(validations)}


def list_map(*keys: str) -> JsonDict:
    """Return the schema extension of a list whose items are told apart by `keys`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


LIST_SET: JsonDict = {"x-kubernetes-list-type": "set"}
LIST_ATOMIC: JsonDict = {"x-kubernetes-list-type": "atomic"}


@dataclass(frozen=True)
class Column:
    """One printed column of `kubectl get`; priority 1 shows only with `-o wide`."""

    name: str
    json_path: str
    type: str = "string"
    description: str = ""
    priority: int = 0

    def as_manifest(self) -> dict[str, Any]:
        """Return the column as a CustomResourceDefinition spells it."""
        column: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.json_path,
        }
        if self.description:
            column["description"] = self.description
        if self.priority:
            column["priority"] = self.priority
        return column


class ObjectMeta(BaseModel):
    """The part of `metadata` that reconciling needs."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore"
    )

    name: str
    namespace: str | None = None
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()


class CustomResource(ApiModel):
    """A kind of the API: metadata, spec, status, and how the API server serves it."""

    model_config = ConfigDict(extra="ignore")

    kind_name: ClassVar[str]
    plural: ClassVar[str]
    singular: ClassVar[str]
    short_name: ClassVar[str]
    scope: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    object_rules: ClassVar[tuple[JsonDict, ...]] = ()

    metadata: ObjectMeta
