"""The MCP servers of an organization: what they offer, asked once and kept, and calls to them.

A server is asked when an agent needs one of its tools for the first time. What it offers is kept
and asked for again in the background; a server that is down leaves what it offered before, and
costs nobody but the callers of its own tools.
"""

import asyncio
import importlib
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from bulkhead_api.v1alpha1.agents import MAX_PARAMETERS_BYTES
from bulkhead_api.v1alpha1.tools import McpServer
from bulkhead_runtime.tools.credentials import Credentials
from bulkhead_runtime.tools.errors import ToolError
from bulkhead_runtime.tools.mcp.endpoint import AUTOMATIC, Endpoint
from bulkhead_runtime.tools.port import Tool, ToolContext
from bulkhead_runtime.tools.untrusted import flags

if TYPE_CHECKING:
    import mcp_types

MAX_TOOLS: Final = 128
MAX_NAME_CHARACTERS: Final = 64
MAX_DESCRIPTION_CHARACTERS: Final = 2_048
FRESH_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 15.0
FIRST_ANSWER_SECONDS: Final = 5.0
"""How long a turn waits for a server that nobody has asked before."""

LATER_ANSWER_SECONDS: Final = 0.25
"""How long for one that was too slow the last time, and must not slow every turn."""

SEPARATOR: Final = "__"
_IN_HEADERS: Final = b'"x-mcp-header"'

_log = logging.getLogger(__name__)


class _Server:
    """One server, as it was configured."""

    def __init__(self, configured: McpServer, credentials: Credentials) -> None:
        self.configured = configured
        self.tools: Mapping[str, Tool] = {}
        self.failure: str | None = None
        self._credentials = credentials
        self._risks = {risk.tool: risk.risk for risk in configured.tool_risks}
        self._era = AUTOMATIC
        self._ask_again = 0.0
        self._late = False
        self._asking: asyncio.Task[None] | None = None

    def refresh(self) -> asyncio.Task[None] | None:
        """Ask for what it offers if that is due; return the asking that is under way."""
        due = time.monotonic() >= self._ask_again
        if self._asking is None and due:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(lambda _: self._asked())
        return self._asking

    async def answer(self, asking: asyncio.Task[None]) -> None:
        """Wait for what was asked, for a bounded time."""
        seconds = LATER_ANSWER_SECONDS if self._late else FIRST_ANSWER_SECONDS
        _, waiting = await asyncio.wait([asking], timeout=seconds)
        self._late = bool(waiting)

    def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    def _asked(self) -> None:
        self._asking = None

    async def _ask(self) -> None:
        try:
            sdk = await _sdk()
            async with asyncio.timeout(self.configured.timeout_seconds):
                offer = await sdk.list_tools(self._endpoint(AUTOMATIC), most=MAX_TOOLS)
            self._era = offer.era
            made = [self._tool(offered) for offered in offer.tools]
            self.tools = {tool.name: tool for tool in made if tool is not None}
            self.failure = None
            self._ask_again = time.monotonic() + FRESH_SECONDS
        except (ToolError, TimeoutError) as error:
            self._failed(getattr(error, "message", "") or "it gave no answer in time")
        except Exception as error:  # noqa: BLE001 (what a server makes of the SDK ends here)
            self._failed(f"it answers with what is no MCP ({type(error).__name__})")

    def _failed(self, reason: str) -> None:
        self.failure = reason
        self._ask_again = time.monotonic() + RETRY_SECONDS
        name = self.configured.name
        _log.warning("MCP server cannot be asked", extra={"server": name, "reason": reason})

    def _endpoint(self, era: str) -> Endpoint:
        configured = self.configured
        token = None
        if configured.credentials_ref is not None:
            token = self._credentials.value(configured.name)
        return Endpoint(configured.name, configured.url, token, era)

    def _tool(self, offered: "mcp_types.Tool") -> Tool | None:
        """Return an offered tool under our name; None for one that no model could be given."""
        name = f"{self.configured.name}{SEPARATOR}{offered.name}"
        schema = _json(offered.input_schema)
        if not _sayable(name) or not 0 < len(schema) <= MAX_PARAMETERS_BYTES:
            _log.warning("MCP tool left out", extra={"server": self.configured.name})
            return None
        description = (offered.description or "")[:MAX_DESCRIPTION_CHARACTERS]
        if signs := flags(description):
            _log.warning("MCP tool looks poisoned", extra={"tool": name, "signs": signs})
        hints = offered.annotations
        reads = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)

        async def call(arguments: Mapping[str, Any], context: ToolContext) -> Any:
            sdk = await _sdk()
            return await sdk.call_tool(
                self._endpoint(self._era),
                offered.name,
                arguments,
                traceparent=context.traceparent,
                listed=_IN_HEADERS in schema,
            )

        return Tool(
            name=name,
            description=description,
            parameters=offered.input_schema,
            risk=self._risks.get(offered.name, self.configured.risk),
            handler=call,
            timeout_seconds=self.configured.timeout_seconds,
            source=f"mcp:{self.configured.name}",
            idempotent=reads,
            foreign_schema=True,
        )


class McpServers:
    """All servers that are configured."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._servers: dict[str, _Server] = {}

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Return the tools that are known now."""
        return tuple(tool for server in self._servers.values() for tool in server.tools.values())

    @property
    def failures(self) -> Mapping[str, str]:
        """Return why servers could not be asked, by name."""
        return {
            name: server.failure
            for name, server in self._servers.items()
            if server.failure is not None
        }

    def configure(self, servers: Iterable[McpServer]) -> None:
        """Follow these servers; what is known of those that stay as they are is kept."""
        former = self._servers
        self._servers = {
            configured.name: self._server(configured, former.get(configured.name))
            for configured in servers
        }
        for server in former.values():
            if server is not self._servers.get(server.configured.name):
                server.close()

    def _server(self, configured: McpServer, known: _Server | None) -> _Server:
        if known is not None and known.configured == configured:
            return known
        return _Server(configured, self._credentials)

    def get(self, name: str) -> Tool | None:
        """Return a tool by its full name, if it is known."""
        server = self._servers.get(name.partition(SEPARATOR)[0])
        return server.tools.get(name) if server else None

    def owns(self, name: str) -> bool:
        """Tell whether a name belongs to one of the servers."""
        prefix, separator, _ = name.partition(SEPARATOR)
        return bool(separator) and prefix in self._servers

    async def prepare(self, names: Iterable[str] | None = None) -> None:
        """Ask the servers of these names, or all, what they offer, where that is due.

        Waits, for a bounded time, only for those that nothing is known of.
        """
        if not self._servers:
            return
        wanted = set(self._servers)
        if names is not None:
            wanted &= {name.partition(SEPARATOR)[0] for name in names}
        unknown: list[Coroutine[Any, Any, None]] = []
        for name in wanted:
            server = self._servers[name]
            asking = server.refresh()
            if asking is not None and not server.tools:
                unknown.append(server.answer(asking))
        if unknown:
            await asyncio.gather(*unknown)

    def close(self) -> None:
        """Give up what is being asked."""
        self.configure(())


async def _sdk() -> Any:
    return await asyncio.to_thread(importlib.import_module, "bulkhead_runtime.tools.mcp.sdk")


def _json(schema: Mapping[str, Any]) -> bytes:
    """Return a schema as JSON, nothing for one that is none to others."""
    try:
        return orjson.dumps(schema)
    except orjson.JSONEncodeError:
        return b""


def _sayable(name: str) -> bool:
    plain = name.replace("_", "").replace("-", "")
    return len(name) <= MAX_NAME_CHARACTERS and plain.isascii() and plain.isalnum()
