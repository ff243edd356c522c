"""The one way in which a tool is called: checked, decided, admitted, bounded, reported.

Whatever goes wrong inside a call ends in an envelope for the model; only the cancellation of the
whole execution passes through.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from msgspec.structs import replace

from bulkhead_runtime.deadlines import cut_off
from bulkhead_runtime.policy.port import PolicyEngine
from bulkhead_runtime.tools.arguments import ArgumentCheck
from bulkhead_runtime.tools.errors import ToolError, TransientError
from bulkhead_runtime.tools.port import BUILT_IN, Tool, ToolContext, ToolEnvelope, ToolFailure
from bulkhead_runtime.tools.reports import ToolReports
from bulkhead_runtime.tools.sources import Sources
from bulkhead_runtime.tools.untrusted import flags_in

MAX_RESULT_BYTES: Final = 65_536
ATTEMPTS: Final = 3
FIRST_WAIT_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)


class ToolRunner:
    """Calls tools for everybody who may."""

    def __init__(self, policy: PolicyEngine, reports: ToolReports) -> None:
        self._policy = policy
        self._reports = reports
        self._arguments = ArgumentCheck()
        self._sources = Sources(reports.circuit)

    async def run(
        self, tool: Tool, arguments: str | Mapping[str, Any], context: ToolContext
    ) -> ToolEnvelope:
        """Call a tool within its timeout and the context's deadline; never raise."""
        try:
            checked = self._arguments.check(tool, arguments)
            rule = self._decide(tool, checked, context)
            refusal = await context.admit(tool) if context.admit else None
        except ToolError as error:
            return failed(error.code, error.message)
        except Exception as error:  # noqa: BLE001 (the outermost place before a tool call)
            return _broken(tool, error)
        if refusal is not None:
            return ToolEnvelope(ok=False, error=refusal)
        return await self._reported(tool, checked, context, rule)

    def _decide(self, tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Return the rule that lets a call through; raise `ToolError` when none does."""
        decision = self._policy.decide_tool(
            tool.name, arguments, tool.risk, context.agent, context.context
        )
        if decision.effect != "Allow":
            self._reports.denied(tool, context, decision)
        if decision.proceeds:
            return decision.rule
        code = "approval_required" if decision.effect == "RequireApproval" else "denied"
        raise ToolError(code, f"Policy does not let {tool.name} be called: {decision.reason}.")

    async def _reported(
        self, tool: Tool, arguments: Mapping[str, Any], context: ToolContext, rule: str
    ) -> ToolEnvelope:
        with self._reports.call(tool, arguments, context, rule) as call:
            traced = replace(context, traceparent=call.traceparent)
            envelope = await self._bounded(tool, arguments, traced)
            call.ended(envelope)
        if tool.untrusted:
            told = envelope.error.message if envelope.error else envelope.data
            self._reports.flagged(tool, context, flags_in(told))
        return envelope

    async def _bounded(
        self, tool: Tool, arguments: Mapping[str, Any], context: ToolContext
    ) -> ToolEnvelope:
        now = time.monotonic()
        seconds = min(tool.timeout_seconds, context.context.deadline - now)
        try:
            with cut_off(now + seconds):
                return _succeeded(tool, await self._call(tool, arguments, context, now + seconds))
        except ToolError as error:
            # Words of a server are no more to be trusted than its results.
            return failed(error.code, error.message, untrusted=tool.untrusted)
        except TimeoutError:
            return failed("timeout", f"{tool.name} gave no result within {max(seconds, 0):.1f} s.")
        except Exception as error:  # noqa: BLE001 (the outermost place of a tool call)
            return _broken(tool, error)

    def _call(
        self, tool: Tool, arguments: Mapping[str, Any], context: ToolContext, deadline: float
    ) -> Awaitable[Any]:
        if tool.source == BUILT_IN:
            return tool.handler(arguments, context)
        peer = tool.peer_of(arguments) if tool.peer_of else tool.source

        async def attempt() -> Any:
            async with self._sources.call(tool.source, peer, deadline):
                return await tool.handler(arguments, context)

        return _repeated(attempt) if tool.idempotent else attempt()


async def _repeated(attempt: Callable[[], Awaitable[Any]]) -> Any:
    """Make a call that may be made twice, again where its source was at fault for a moment."""
    import stamina  # noqa: PLC0415 (20 ms: with the first call that may be repeated)

    return await stamina.AsyncRetryingCaller(
        attempts=ATTEMPTS,
        timeout=None,
        wait_initial=FIRST_WAIT_SECONDS,
        wait_max=LONGEST_WAIT_SECONDS,
    )(TransientError, attempt)


def failed(code: str, message: str, *, untrusted: bool = False) -> ToolEnvelope:
    """Return the envelope of a call that was not answered."""
    return ToolEnvelope(ok=False, error=ToolFailure(code, message), untrusted=untrusted)


def _succeeded(tool: Tool, data: Any) -> ToolEnvelope:
    size = len(orjson.dumps(data))
    if size > MAX_RESULT_BYTES:
        return failed(
            "result_too_large",
            f"{tool.name} returned {size} bytes of at most {MAX_RESULT_BYTES}: ask for less.",
        )
    return ToolEnvelope(ok=True, data=data, untrusted=tool.untrusted)


def _broken(tool: Tool, error: Exception) -> ToolEnvelope:
    _log.warning("Tool failed", extra={"tool": tool.name, "error": type(error).__name__})
    return failed("internal_error", f"{tool.name} failed; try something else.")
