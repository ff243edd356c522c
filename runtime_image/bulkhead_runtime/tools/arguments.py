"""Arguments of a tool call, checked against the tool's JSON schema.

They are written by a model and may be anything.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from bulkhead_runtime.tools.errors import ToolError
from bulkhead_runtime.tools.port import Tool
from bulkhead_runtime.tools.schemas import foreign_validator, own_validator

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

MAX_ARGUMENT_BYTES: Final = 65_536
MAX_REASON_CHARACTERS: Final = 300
MAX_VALIDATORS: Final = 256


@dataclass(frozen=True, slots=True)
class _Known:
    """The validator of a tool, which is kept so that its id is nobody else's meanwhile.

    `takes_none` says that a call without any arguments is valid.
    """

    tool: Tool
    validator: "Validator"
    takes_none: bool


class ArgumentCheck:
    """Decodes and validates arguments; keeps the compiled validators of the tools last used."""

    def __init__(self) -> None:
        self._validators: OrderedDict[int, _Known] = OrderedDict()

    def check(self, tool: Tool, arguments: str | Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the arguments as the tool's schema wants them; raise `ToolError` otherwise."""
        decoded = _decode(arguments) if isinstance(arguments, str) else arguments
        known = self._known(tool)
        if not decoded and known.takes_none:
            return decoded
        failure = next(known.validator.iter_errors(decoded), None)
        if failure is not None:
            reason = failure.message[:MAX_REASON_CHARACTERS]
            raise ToolError("invalid_arguments", f"{failure.json_path}: {reason}")
        return decoded

    def _known(self, tool: Tool) -> "_Known":
        known = self._validators.get(id(tool))
        if known is None:
            make = foreign_validator if tool.foreign_schema else own_validator
            validator = make(tool.parameters)
            known = _Known(tool, validator, takes_none=validator.is_valid({}))
            self._validators[id(tool)] = known
            if len(self._validators) > MAX_VALIDATORS:
                self._validators.popitem(last=False)
        else:
            self._validators.move_to_end(id(tool))
        return known


def _decode(text: str) -> dict[str, Any]:
    if len(text) > MAX_ARGUMENT_BYTES:
        raise ToolError(
            "invalid_arguments",
            f"The arguments have {len(text)} characters, at most {MAX_ARGUMENT_BYTES} are read: "
            "send less.",
        )
    if not text.strip():
        return {}
    try:
        decoded = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        raise ToolError(
            "invalid_arguments", "The arguments are not JSON: send one JSON object."
        ) from None
    if not isinstance(decoded, dict):
        raise ToolError(
            "invalid_arguments",
            f"The arguments are a JSON {type(decoded).__name__}: send one JSON object.",
        )
    return decoded
