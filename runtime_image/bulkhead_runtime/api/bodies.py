"""Decodes request bodies, and says what is wrong with one in terms of its fields."""

import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Final, TypeVar

import msgspec

from bulkhead_runtime.errors import Problem

Body = TypeVar("Body")

_PLACE = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"(required|unknown) field `(?P<name>[^`]{1,64})`")
_MAX_REASON_CHARACTERS = 300


MAX_DEPTH: Final = 64
"""How deep JSON may nest; what is deeper could not be sent on."""

_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_LONG_NUMBER = re.compile(rb"(?<![0-9.eE+])[0-9]{20,}(?![0-9.eE])")
_LONG = re.compile(rb"[0-9]{20}")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def decode(decoder: msgspec.json.Decoder[Body], body: bytes) -> Body:
    """Return the decoded body; raise a 400 `Problem` for bad JSON, a 422 for bad content."""
    refuse_unusable(body)
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


def refuse_unsupported(body: msgspec.Struct, reasons: Mapping[str, str]) -> None:
    """Raise a 422 `Problem` for the first of these fields by which a client asks for something.

    null, false, 0 and an empty list ask for nothing.
    """
    for field, reason in reasons.items():
        if getattr(body, field) not in (None, False, []):
            raise Problem(422, "not_supported", f"`{field}`: {reason}", field=field)


def refuse_unusable(body: bytes) -> None:
    """Raise a 400 `Problem` for JSON that could not be sent on, though it can be read.

    That is what nests deeper than `MAX_DEPTH`, counted by its brackets outside of texts as steps
    of one up or down, whole numbers of more than 64 bits, and the character U+0000, which
    databases do not store.
    """
    if b"\\u0000" in body and _NUL.search(body) is not None:
        raise Problem(400, "nul_character", "The body has the character U+0000. Leave it out.")
    deep = body.count(b"[") + body.count(b"{") > MAX_DEPTH
    if not deep and _LONG.search(body) is None:
        return
    bare = _TEXT.sub(b"", body)
    steps = memoryview(bare.translate(_STEPS, _NO_BRACKETS)).cast("b")
    if max(accumulate(steps), default=0) > MAX_DEPTH:
        raise Problem(
            400, "too_deep", f"The body nests deeper than {MAX_DEPTH} levels. Flatten it."
        )
    if _LONG_NUMBER.search(bare) is not None:
        raise Problem(
            400,
            "number_too_large",
            "The body has a whole number of more than 64 bits. Send it as text.",
        )


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
