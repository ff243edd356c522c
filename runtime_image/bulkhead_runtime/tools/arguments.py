"""Arguments of a tool call, checked against the tool's JSON schema.

They are written by a model and may be anything.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from bulkhead_runtime.tools.errors import ToolError
from bulkhead_runtime.tools.port import Tool
from bulkhead_runtime.tools.schemas import Check, TooCostlyError, foreign_check, own_check

MAX_ARGUMENT_BYTES: Final = 65_536
MAX_REASON_CHARACTERS: Final = 300
MAX_CHECKS: Final = 256


@dataclass(frozen=True, slots=True)
class _Known:
    """The check of a tool, which is kept so that its id is nobody else's meanwhile.

    `takes_none` says that a call without any arguments is valid.
    """

    tool: Tool
    check: Check
    takes_none: bool


class ArgumentCheck:
    """Decodes and validates arguments; keeps the compiled schemas of the tools last used."""

    def __init__(self) -> None:
        self._checks: OrderedDict[int, _Known] = OrderedDict()

    def check(self, tool: Tool, arguments: str | Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the arguments as the tool's schema wants them; raise `ToolError` otherwise."""
        decoded = _decode(arguments) if isinstance(arguments, str) else _bounded(arguments)
        known = self._known(tool)
        if not decoded and known.takes_none:
            return decoded
        try:
            failure = known.check(decoded)
        except TooCostlyError:
            raise ToolError(
                "invalid_arguments",
                "The arguments take too long to check against the tool's schema: send less.",
            ) from None
        if failure is not None:
            reason = failure.message[:MAX_REASON_CHARACTERS]
            raise ToolError("invalid_arguments", f"{failure.json_path}: {reason}")
        return decoded

    def _known(self, tool: Tool) -> "_Known":
        known = self._checks.get(id(tool))
        if known is None:
            check = (foreign_check if tool.foreign_schema else own_check)(tool.parameters)
            known = _Known(tool, check, takes_none=check({}) is None)
            self._checks[id(tool)] = known
            if len(self._checks) > MAX_CHECKS:
                self._checks.popitem(last=False)
        else:
            self._checks.move_to_end(id(tool))
        return known


def _decode(text: str) -> dict[str, Any]:
    _refuse_long(len(text))
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


def _bounded(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    _refuse_long(len(orjson.dumps(arguments)))
    return arguments


def _refuse_long(size: int) -> None:
    if size > MAX_ARGUMENT_BYTES:
        raise ToolError(
            "invalid_arguments",
            f"The arguments have {size} characters, at most {MAX_ARGUMENT_BYTES} are read: "
            "send less.",
        )
