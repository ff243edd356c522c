"""Turns bodies into models; what a model does not accept still has a name and a status."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from bulkhead_api.schema import CustomResource, ObjectMeta
from bulkhead_operator.errors import UserError
from bulkhead_operator.status import reasons

Resource = TypeVar("Resource", bound=CustomResource)
Place = tuple[str | int, ...]


def parsed(kind: type[Resource], body: Mapping[str, Any]) -> tuple[Resource, UserError | None]:
    """Return the resource; with an error when its spec is not valid and was left out.

    The API server validates by the same models, so this is for objects that were stored before a
    bound was narrowed. Fields that a newer release has added are left out, as Kubernetes'
    controllers do: while an upgrade is under way the definitions are newer than this process.
    """
    try:
        return kind.model_validate(body), None
    except ValidationError as error:
        return _partly(kind, body, error)


def unknown_fields(kind: type[CustomResource], body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields that this release does not know."""
    try:
        kind.model_validate(body)
    except ValidationError as error:
        return tuple(".".join(map(str, place)) for place in _unknown(error))
    return ()


def _partly(
    kind: type[Resource], body: Mapping[str, Any], error: ValidationError
) -> tuple[Resource, UserError | None]:
    unknown = _unknown(error)
    if unknown:
        try:
            return kind.model_validate(_without(body, unknown)), None
        except ValidationError as left:
            error = left
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = f"`{field}` is {first['input']!r:.100}: {first['msg']}; correct it in the spec."
    return _without_spec(kind, body), UserError(reasons.INVALID_SPEC, message)


def _unknown(error: ValidationError) -> list[Place]:
    told = error.errors(include_url=False, include_context=False, include_input=False)
    return [one["loc"] for one in told if one["type"] == "extra_forbidden"]


def _without(body: Mapping[str, Any], places: list[Place]) -> Mapping[str, Any]:
    known = deepcopy(dict(body))
    for *way, name in places:
        holder: Any = known
        for part in way:
            holder = holder[part]
        del holder[name]
    return known


def _without_spec(kind: type[Resource], body: Mapping[str, Any]) -> Resource:
    metadata = ObjectMeta.model_validate(body["metadata"])
    status = kind.model_fields["status"].annotation
    assert status is not None
    known = status.model_validate(body.get("status") or {})
    return cast("Resource", kind.model_construct(metadata=metadata, status=known, spec=None))
