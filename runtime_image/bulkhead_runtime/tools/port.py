"""The port between the kernel and tools.

A tool's arguments come from a model and are not to be trusted: whatever is wrong with them goes
back to the model as an envelope, never as an exception.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

RiskLevel = Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True)
class ToolContext:
    """For whom a tool runs; `deadline` is a time of `time.monotonic()`."""

    organization: str
    agent: str
    session_id: str | None
    deadline: float


@dataclass(frozen=True, slots=True)
class ToolFailure:
    """Why a call failed, in a stable code and words that a model can act on."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ToolEnvelope:
    """Result of a call: `data` (JSON values) when ok, else `error`."""

    ok: bool
    data: Any = None
    error: ToolFailure | None = None

    def to_json(self) -> dict[str, Any]:
        """Return {"ok": true, "data": ...} or {"ok": false, "error": {"code", "message"}}."""
        if self.error is None:
            return {"ok": True, "data": self.data}
        return {"ok": False, "error": {"code": self.error.code, "message": self.error.message}}


ToolHandler = Callable[[Mapping[str, Any], ToolContext], Awaitable[Any]]
"""Takes validated arguments, returns JSON values."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: what models are told of it, how risky it is, what it does."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    risk: RiskLevel
    handler: ToolHandler
    timeout_seconds: float = 10.0


class Tools(Protocol):
    """The registry; the implementation is `tools.registry.ToolRegistry`.

    `tools.registry.builtin_tools()` returns the one with the built-in tools; making it imports no
    JSON-schema library before the first call is validated.
    """

    def get(self, name: str) -> Tool | None:
        """Return the tool of that name, if there is one."""
        ...

    def list(self) -> tuple[Tool, ...]:
        """Return all tools, ordered by name."""
        ...

    async def run(
        self, name: str, arguments: str | Mapping[str, Any], context: ToolContext
    ) -> ToolEnvelope:
        """Run a tool within its timeout and the context's deadline; never raise."""
        ...
