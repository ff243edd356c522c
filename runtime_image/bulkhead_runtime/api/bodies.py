"""Decodes request bodies, and says what is wrong with one in terms of its fields."""

import re
from typing import TypeVar

import msgspec

from bulkhead_runtime.errors import Problem

Body = TypeVar("Body")

_PLACE = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"(required|unknown) field `(?P<name>[^`]{1,64})`")
_MAX_REASON_CHARACTERS = 300


def decode(decoder: msgspec.json.Decoder[Body], body: bytes) -> Body:
    """Return the decoded body; raise a 400 `Problem` for bad JSON, a 422 for bad content."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except UnicodeDecodeError as error:
        raise Problem(
            400, "invalid_utf8", f"The body is not valid UTF-8 at byte {error.start}."
        ) from error
    except msgspec.DecodeError as error:
        raise Problem(
            400, "malformed_json", f"The body is not valid JSON: {error}."[:_MAX_REASON_CHARACTERS]
        ) from error


def _invalid(reason: str) -> Problem:
    place = _PLACE.search(reason)
    named = _MISSING.search(reason)
    field = place["path"] if place else None
    if named:
        field = ".".join(filter(None, (field, named["name"])))
    text = _PLACE.sub("", reason)
    return Problem(
        422,
        "invalid_body",
        f"`{field or 'body'}`: {text}."[:_MAX_REASON_CHARACTERS],
        field=(field or "body")[:64],
    )
