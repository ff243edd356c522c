"""One attempt at one check: asks as a caller would, through the kernel, and says what was seen.

What is told names what was expected and never an answer's text: it ends in a status that people
read who may not read conversations.
"""

import time
from decimal import Decimal
from typing import Protocol

from bulkhead_api.v1alpha1.package_health import HttpCheck, PromptCheck, ToolCheck
from bulkhead_runtime.config.snapshot import Version
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.identifiers import new_id
from bulkhead_runtime.kernel.context import HEALTH_CHECK
from bulkhead_runtime.kernel.requests import Caller, StatelessRequest, ToolRequest
from bulkhead_runtime.kernel.turns import TurnResult
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.image_lane.images import Images
from bulkhead_runtime.models.image_lane.wire import About
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.packages.expressions import found
from bulkhead_runtime.packages.planned_checks import Check, ImageCheck
from bulkhead_runtime.telemetry.trace import continue_trace
from bulkhead_runtime.tools.errors import ToolError
from bulkhead_runtime.tools.port import ToolEnvelope


class Agents(Protocol):
    """Runs agents of a version."""

    async def check(self, version: Version, request: StatelessRequest) -> TurnResult:
        """Run an agent of this version."""
        ...


class ToolCalls(Protocol):
    """Runs tools of a version."""

    async def check(self, version: Version, request: ToolRequest) -> ToolEnvelope:
        """Run one tool as this version may."""
        ...


class Addresses(Protocol):
    """Asks addresses."""

    async def probe(self, url: str) -> int:
        """Return the status of an answer to GET; raise `ToolError` where there is none."""
        ...


class Attempts:
    """Makes attempts at checks."""

    def __init__(
        self, agents: Agents, tools: ToolCalls, addresses: Addresses, images: Images
    ) -> None:
        self._agents = agents
        self._tools = tools
        self._addresses = addresses
        self._images = images

    async def make(self, version: Version, kind: Check) -> str | None:
        """Return what is wrong, None when all is as it should be; never raise."""
        try:
            match kind:
                case HttpCheck():
                    return await self._http(kind)
                case ToolCheck():
                    return await self._tool(version, kind)
                case PromptCheck():
                    return await self._prompt(version, kind)
                case ImageCheck():
                    return await self._image(version)
        except Problem as problem:
            return problem.message
        except (ModelError, ToolError) as error:
            return error.message

    async def _http(self, check: HttpCheck) -> str | None:
        status = await self._addresses.probe(check.url)
        if status == check.expected_status:
            return None
        return f"the address answers with status {status}, not {check.expected_status}"

    async def _tool(self, version: Version, check: ToolCheck) -> str | None:
        request = ToolRequest(check.name, check.arguments, _caller())
        envelope = await self._tools.check(version, request)
        if envelope.error is None:
            return None
        code = envelope.error.code
        said = "" if envelope.untrusted else f": {envelope.error.message}"
        return f"tool {check.name!r} fails with {code}{said}"

    async def _image(self, version: Version) -> str | None:
        about = About(agent="", package=version.package, version=version.version)
        await self._images.client(version.endpoint, about).health()
        return None

    async def _prompt(self, version: Version, check: PromptCheck) -> str | None:
        started = time.monotonic()
        message = ModelMessage("user", check.message)
        result = await self._agents.check(
            version, StatelessRequest(check.agent, (message,), _caller())
        )
        return _unexpected(check, result, time.monotonic() - started)


def _unexpected(check: PromptCheck, result: TurnResult, seconds: float) -> str | None:
    """Return the first property that an answer does not have."""
    if result.status != "completed":
        return f"agent {check.agent!r} ends with {result.status}"
    wrong = _wrong_text(check, result.answer)
    if wrong is not None:
        return wrong
    if check.max_seconds is not None and seconds > check.max_seconds:
        return f"the answer took {seconds:.1f} seconds, more than {check.max_seconds}"
    return None if check.max_cost is None else _too_costly(check.max_cost, result)


def _wrong_text(check: PromptCheck, answer: str) -> str | None:
    folded = answer.casefold()
    for text in check.contains:
        if text.casefold() not in folded:
            return f"the answer of {check.agent!r} does not contain {text!r}"
    for text in check.not_contains:
        if text.casefold() in folded:
            return f"the answer of {check.agent!r} contains {text!r}"
    if check.matches is None or found(check.matches, answer):
        return None
    return f"the answer of {check.agent!r} does not match {check.matches!r}"


def _too_costly(most: str, result: TurnResult) -> str | None:
    cost = result.usage.cost
    if cost is None:
        return f"the price of {result.model!r} is not known, so that maxCost cannot be kept"
    if Decimal(cost) > Decimal(most):
        return f"the answer cost {cost} US dollars, more than {most}"
    return None


def _caller() -> Caller:
    return Caller(HEALTH_CHECK, new_id("req"), continue_trace(None))
