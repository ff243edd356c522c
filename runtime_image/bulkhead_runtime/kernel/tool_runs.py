"""Tools addressed by name, without a model: POST /v1/tools/run."""

from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.config.snapshot import Version
from bulkhead_runtime.kernel.bounds import Wanted
from bulkhead_runtime.kernel.calls import tool_context
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.kernel.executions import Executions
from bulkhead_runtime.kernel.middleware import Kernel
from bulkhead_runtime.kernel.requests import ToolRequest
from bulkhead_runtime.kernel.settlement import Opening, Remembered
from bulkhead_runtime.store.port import Turn
from bulkhead_runtime.tools.port import ToolEnvelope, Tools


class ToolRuns:
    """Runs single tools through the kernel."""

    def __init__(
        self, kernel: Kernel, tools: Tools, holder: ConfigurationHolder, executions: Executions
    ) -> None:
        self._kernel = kernel
        self._tools = tools
        self._holder = holder
        self._executions = executions

    async def run(self, request: ToolRequest) -> ToolEnvelope:
        """Run one tool; what goes wrong inside it is in the envelope, what is refused raises."""
        execution = self._executions.direct(self._holder.require(), request.caller, "tools:run")
        return await self._kernel.run(execution, _ToolWork(self._tools, execution, request))

    async def check(self, version: Version, request: ToolRequest) -> ToolEnvelope:
        """Run one tool as the version's first agent that has it, or else without an agent."""
        configuration, caller = self._holder.require(), request.caller
        owners = (agent for agent in version.agents.values() if request.tool in agent.tools)
        agent = next(owners, None)
        if agent is None:
            execution = self._executions.direct(configuration, caller, "tools:run")
            execution.package, execution.version = version.package, version.version
        else:
            execution = self._executions.of_agent(
                configuration, version, agent, caller, texts=(), session_id=None
            )
        return await self._kernel.run(execution, _ToolWork(self._tools, execution, request))


class _ToolWork:
    """One call of a tool."""

    def __init__(self, tools: Tools, execution: Execution, request: ToolRequest) -> None:
        self._tools = tools
        self._execution = execution
        self._request = request

    def opening(self) -> Opening:
        """Return what is reserved."""
        return Opening(Wanted(tool_calls=1, seconds=self._execution.seconds()))

    async def run(self, _: Turn | None) -> ToolEnvelope:
        """Run the tool."""
        execution, request = self._execution, self._request
        await self._tools.prepare((request.tool,))
        context = tool_context(execution)
        envelope = await self._tools.run(request.tool, request.arguments, context)
        execution.outcome = "completed" if envelope.ok else "completed_with_errors"
        return envelope

    def remembered(self) -> Remembered:
        """Return nothing."""
        return Remembered()

    def stored(self) -> None:
        """Do nothing."""
