"""Which tools there are: built in, of MCP servers, of package versions.

A name means one thing. Tools of the platform go before those of packages, whose authors could
otherwise take a name that policy trusts. An agent has the tools of its own package's version; who
calls without an agent has those whose name only one package uses.
"""

import logging
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from bulkhead_api.names import MCP_FOLDER
from bulkhead_api.v1alpha1.agent_package import HttpTool
from bulkhead_api.v1alpha1.tools import Tools as ToolSettings
from bulkhead_runtime.tools.calculate import CALCULATE
from bulkhead_runtime.tools.credentials import Credentials
from bulkhead_runtime.tools.current_time import current_time_tool
from bulkhead_runtime.tools.documents import DocumentIndex, search_documents_tool
from bulkhead_runtime.tools.errors import ToolError
from bulkhead_runtime.tools.mcp.servers import McpServers
from bulkhead_runtime.tools.port import Tool, ToolContext, ToolEnvelope
from bulkhead_runtime.tools.runner import ToolRunner, failed
from bulkhead_runtime.tools.surroundings import Surroundings

if TYPE_CHECKING:
    from bulkhead_runtime.tools.web.access import HttpAccess, Way

RESERVED: Final = frozenset({"calculate", "current_time", "web_fetch", "search_documents"})
"""Names that are built in, whether or not an organization has the tool."""

MAX_NAMES_SHOWN: Final = 40

_log = logging.getLogger(__name__)

PackageVersion = tuple[str, str]


class ToolRegistry:
    """The tools of a runtime; implements `tools.port.Tools`."""

    def __init__(self, runner: ToolRunner, surroundings: Surroundings) -> None:
        self._runner = runner
        self._surroundings = surroundings
        self._servers = McpServers(Credentials(surroundings.secrets / MCP_FOLDER))
        self._settings = ToolSettings()
        self._access: HttpAccess | None = None
        self._documents: DocumentIndex | None = None
        self._built_in: Mapping[str, Tool] = {}
        self._packages: Mapping[PackageVersion, Mapping[str, Tool]] = {}
        self._unambiguous: Mapping[str, Tool] = {}
        self.configure(ToolSettings(), {})

    def configure(
        self, settings: ToolSettings, packages: Mapping[PackageVersion, tuple[HttpTool, ...]]
    ) -> None:
        """Follow the organization's settings and what its package versions bring.

        Of several versions of a package the last one stands for who calls without an agent.
        """
        if settings.documents != self._settings.documents or self._documents is None:
            self._documents = DocumentIndex(
                self._surroundings.documents, settings.documents.config_maps
            )
        self._settings = settings
        self._servers.configure(settings.servers)
        self._built_in = _by_name(self._made_built_in(settings, self._documents))
        self._packages = MappingProxyType(
            {key: _by_name(self._made(key, tools)) for key, tools in packages.items() if tools}
        )
        self._unambiguous = _unambiguous(self._packages)

    def get(self, name: str, package: str = "", version: str = "") -> Tool | None:
        """Return the tool of that name as a version of a package may call it, if there is one.

        Without a package the name must be used by one package only.
        """
        if (tool := self._built_in.get(name) or self._servers.get(name)) is not None:
            return tool
        if not package:
            return self._unambiguous.get(name)
        return self._packages.get((package, version), {}).get(name)

    def list(self) -> tuple[Tool, ...]:
        """Return all tools that are known now and can be called by name, ordered by name."""
        tools = (
            *self._built_in.values(),
            *self._servers.tools,
            *self._unambiguous.values(),
        )
        return tuple(sorted(tools, key=lambda tool: tool.name))

    def of_package(self, package: str, version: str) -> tuple[Tool, ...]:
        """Return the tools that a version of a package brings, ordered by name."""
        return tuple(self._packages.get((package, version), {}).values())

    @property
    def failures(self) -> Mapping[str, str]:
        """Return why MCP servers could not be asked what they offer, by name."""
        return self._servers.failures

    async def prepare(self, names: Iterable[str] | None = None) -> None:
        """Learn what servers offer under these names, or at all, where that is due.

        Waits a bounded time, and only for servers that nothing is known of.
        """
        await self._servers.prepare(names)

    async def run(
        self, name: str, arguments: str | Mapping[str, Any], context: ToolContext
    ) -> ToolEnvelope:
        """Run a tool that is known within its timeout and the context's deadline; never raise."""
        tool = self.get(name, context.package, context.version)
        if tool is None:
            return self._unknown(name, context)
        return await self._runner.run(tool, arguments, context)

    async def probe(self, url: str) -> int:
        """Return the status with which an address answers, under the rules of tools.

        Raises `ToolError` where nothing answers or the address may not be asked.
        """
        from bulkhead_runtime.tools.web.probe import status_of  # noqa: PLC0415 (aiohttp)

        return await status_of(url, self._settings, self._outside())

    def way_to(self, host: str, settings: ToolSettings) -> "Way":
        """Return how a host that a package names is reached under settings not followed yet."""
        return self._outside().way_to(host, settings)

    async def aclose(self) -> None:
        """Close every connection."""
        self._servers.close()
        if self._access is not None:
            await self._access.aclose()

    def _made_built_in(self, settings: ToolSettings, documents: DocumentIndex) -> Iterable[Tool]:
        yield CALCULATE
        yield current_time_tool()
        if settings.web_fetch.enabled:
            from bulkhead_runtime.tools.web_fetch import web_fetch_tool  # noqa: PLC0415 (aiohttp)

            yield web_fetch_tool(self._outside().public, settings.web_fetch)
        if settings.documents.config_maps:
            yield search_documents_tool(documents)

    def _made(self, key: PackageVersion, declared: tuple[HttpTool, ...]) -> Iterable[Tool]:
        from bulkhead_runtime.tools.http_tool import http_tool  # noqa: PLC0415 (aiohttp)

        for tool in declared:
            if tool.name in RESERVED or self._servers.owns(tool.name):
                _refused(key, tool, "its name belongs to a tool of the platform")
                continue
            try:
                yield http_tool(tool, self._settings, self._outside())
            except ToolError as error:
                _refused(key, tool, error.message)

    def _outside(self) -> "HttpAccess":
        if self._access is None:
            from bulkhead_runtime.tools.web.access import HttpAccess  # noqa: PLC0415 (aiohttp)

            self._access = HttpAccess(self._surroundings)
        return self._access

    def _unknown(self, name: str, context: ToolContext) -> ToolEnvelope:
        server = name.partition("__")[0]
        if (failure := self._servers.failures.get(server)) is not None:
            reason = f"Server {server!r} does not answer: {failure}"
            return failed("unknown_tool", reason, untrusted=True)
        known = [*self._built_in, *(tool.name for tool in self._servers.tools)]
        owner = (context.package, context.version)
        known += self._packages.get(owner, {}) if context.package else self._unambiguous
        shown = ", ".join(sorted(known)[:MAX_NAMES_SHOWN]) or "none"
        return failed("unknown_tool", f"There is no tool {name[:64]!r}; there are: {shown}.")


def _by_name(tools: Iterable[Tool]) -> Mapping[str, Tool]:
    return {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}


def _unambiguous(packages: Mapping[PackageVersion, Mapping[str, Tool]]) -> Mapping[str, Tool]:
    """Return the tools whose names are used by one package only."""
    owners: dict[str, set[str]] = {}
    tools: dict[str, Tool] = {}
    for (package, _), brought in packages.items():
        tools |= brought
        for name in brought:
            owners.setdefault(name, set()).add(package)
    return {name: tool for name, tool in tools.items() if len(owners[name]) == 1}


def _refused(key: PackageVersion, tool: HttpTool, reason: str) -> None:
    package, version = key
    _log.warning(
        "Tool of a package left out",
        extra={"package": package, "version": version, "tool": tool.name, "reason": reason},
    )
