"""Turns bodies into models; what a model does not accept still has a name and a status."""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from bulkhead_api.schema import CustomResource, ObjectMeta
from bulkhead_operator.errors import UserError
from bulkhead_operator.status import reasons

Resource = TypeVar("Resource", bound=CustomResource)


def parsed(kind: type[Resource], body: Mapping[str, Any]) -> tuple[Resource, UserError | None]:
    """Return the resource; with an error when its spec is not valid and was left out.

    The API server validates by the same models, so this is for objects that were stored before a
    bound was narrowed.
    """
    try:
        return kind.model_validate(body), None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        message = f"`{field}` is {first['input']!r:.100}: {first['msg']}; correct it in the spec."
        return _without_spec(kind, body), UserError(reasons.INVALID_SPEC, message)


def _without_spec(kind: type[Resource], body: Mapping[str, Any]) -> Resource:
    metadata = ObjectMeta.model_validate(body["metadata"])
    status = kind.model_fields["status"].annotation
    assert status is not None
    known = status.model_validate(body.get("status") or {})
    return cast("Resource", kind.model_construct(metadata=metadata, status=known, spec=None))
