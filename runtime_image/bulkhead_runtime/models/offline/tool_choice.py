"""When the embedded model calls a tool: for the time and for a calculation, if it may."""

import re
from typing import Final

import orjson

from bulkhead_runtime.models.offline.answer import last_question
from bulkhead_runtime.models.port import ModelRequest, ToolCall

_ZONE: Final = re.compile(r"\b(?:[A-Z][A-Za-z_]{1,20}/[A-Z][A-Za-z_]{1,30}|UTC)\b")
_ABOUT_TIME: Final = re.compile(
    r"\b(?:what(?:'s| is) the (?:time|date)|what (?:time|day|date)|current time|time is it"
    r"|time in)\b",
    re.IGNORECASE,
)
_CALCULATION: Final = re.compile(
    r"[-(]*\d+(?:\.\d+)?\)*(?:\s*(?:\*\*|[-+*/])\s*[-(]*\d+(?:\.\d+)?\)*)+"
)
_ASKED_TO_CALCULATE: Final = re.compile(
    r"\b(?:calculate|compute|what(?:'s| is)|how much is)\b", re.IGNORECASE
)
MAX_READ_CHARACTERS: Final = 2_000
"""Longer questions are read no further when looking for a calculation."""


def choose_tool_call(request: ModelRequest) -> ToolCall | None:
    """Return the call that answers the last question, None where words do.

    Only right after a question: once a tool has answered, the model speaks.
    """
    if not request.messages or request.messages[-1].role != "user":
        return None
    offered = {tool.name for tool in request.tools}
    question = last_question(request.messages)[:MAX_READ_CHARACTERS]
    identifier = f"call_{len(request.messages)}"
    if "calculate" in offered and _ASKED_TO_CALCULATE.search(question):
        found = _CALCULATION.search(question)
        if found:
            return _call(identifier, "calculate", {"expression": found.group()})
    if "current_time" in offered and _ABOUT_TIME.search(question):
        zone = _ZONE.search(question)
        return _call(identifier, "current_time", {"timezone": zone.group() if zone else "UTC"})
    return None


def _call(identifier: str, tool: str, arguments: dict[str, str]) -> ToolCall:
    return ToolCall(id=identifier, name=tool, arguments=orjson.dumps(arguments).decode())
