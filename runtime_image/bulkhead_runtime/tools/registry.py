"""Which tools there are, and the one way in which they run.

Whatever goes wrong inside a call ends in an envelope for the model; only the cancellation of the
whole execution passes through.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from bulkhead_runtime.tools.arguments import ArgumentCheck
from bulkhead_runtime.tools.calculate import CALCULATE
from bulkhead_runtime.tools.current_time import current_time_tool
from bulkhead_runtime.tools.errors import ToolError
from bulkhead_runtime.tools.port import Tool, ToolContext, ToolEnvelope, ToolFailure

MAX_RESULT_BYTES: Final = 65_536

_log = logging.getLogger(__name__)


class ToolRegistry:
    """The tools of a runtime by name."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools = {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}
        self._arguments = ArgumentCheck()

    def get(self, name: str) -> Tool | None:
        """Return the tool of that name, if there is one."""
        return self._tools.get(name)

    def list(self) -> tuple[Tool, ...]:
        """Return all tools, ordered by name."""
        return tuple(self._tools.values())

    async def run(
        self, name: str, arguments: str | Mapping[str, Any], context: ToolContext
    ) -> ToolEnvelope:
        """Run a tool within its timeout and the context's deadline; never raise."""
        tool = self._tools.get(name)
        if tool is None:
            known = ", ".join(self._tools) or "none"
            return _failed("unknown_tool", f"There is no tool {name[:64]!r}; there are: {known}.")
        seconds = min(tool.timeout_seconds, context.deadline - time.monotonic())
        try:
            async with asyncio.timeout(seconds):
                checked = self._arguments.check(tool, arguments)
                return _succeeded(tool, await tool.handler(checked, context))
        except ToolError as error:
            return _failed(error.code, error.message)
        except TimeoutError:
            return _failed("timeout", f"{tool.name} gave no result within {max(seconds, 0):.1f} s.")
        except Exception as error:  # noqa: BLE001 (the outermost place of a tool call)
            _log.warning("Tool failed", extra={"tool": tool.name, "error": type(error).__name__})
            return _failed("internal_error", f"{tool.name} failed; try something else.")


def builtin_tools() -> ToolRegistry:
    """Return the registry of the tools that every runtime has."""
    return ToolRegistry((CALCULATE, current_time_tool()))


def _succeeded(tool: Tool, data: Any) -> ToolEnvelope:
    size = len(orjson.dumps(data))
    if size > MAX_RESULT_BYTES:
        return _failed(
            "result_too_large",
            f"{tool.name} returned {size} bytes of at most {MAX_RESULT_BYTES}: ask for less.",
        )
    return ToolEnvelope(ok=True, data=data)


def _failed(code: str, message: str) -> ToolEnvelope:
    return ToolEnvelope(ok=False, error=ToolFailure(code=code, message=message))
