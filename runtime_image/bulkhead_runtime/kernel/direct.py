"""Models addressed by name, without an agent: decoded part by part, or byte for byte."""

from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.kernel import failures
from bulkhead_runtime.kernel.bounds import Wanted
from bulkhead_runtime.kernel.calls import ModelCalls, Planned, Request, Take
from bulkhead_runtime.kernel.execution import Execution, UsageTotal
from bulkhead_runtime.kernel.executions import Executions
from bulkhead_runtime.kernel.middleware import Kernel
from bulkhead_runtime.kernel.requests import Caller, DirectRequest, PassthroughRequest
from bulkhead_runtime.kernel.settlement import Opening, Remembered
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import ByteRequest, Router, Write
from bulkhead_runtime.store.port import Turn


class DirectModels:
    """Runs single model calls through the kernel."""

    def __init__(
        self,
        kernel: Kernel,
        calls: ModelCalls,
        router: Router,
        holder: ConfigurationHolder,
        executions: Executions,
    ) -> None:
        self._kernel = kernel
        self._calls = calls
        self._router = router
        self._holder = holder
        self._executions = executions

    def can_pass_through(self, model: str, caller: Caller) -> bool:
        """Tell whether every model that may have to answer can stream byte for byte."""
        execution = self._executions.direct(self._holder.require(), caller, "models:call")
        try:
            plan = self._router.plan(model, None, execution.context)
        except ModelError as error:
            raise failures.as_problem(error) from error
        return self._router.has_byte_lane(plan)

    async def call(self, request: DirectRequest, take: Take) -> UsageTotal:
        """Hand every part of the answer to `take`; raise `Problem` when the model fails."""
        asked = request.model_request
        execution = self._executions.direct(
            self._holder.require(),
            request.caller,
            "models:call",
            model=asked.model,
            texts=tuple(message.content for message in asked.messages),
        )

        class Call(_DirectWork):
            async def run(self, _: Turn | None) -> UsageTotal:
                """Call the model."""
                await self.calls.stream(execution, asked, take, planned=self.planned)
                return self.completed()

        return await self._kernel.run(execution, Call(self._calls, execution, asked))

    async def pass_through(self, request: PassthroughRequest, write: Write) -> UsageTotal:
        """Write the answer's frames; raise `Problem` when the model fails or ends it early."""
        execution = self._executions.direct(
            self._holder.require(),
            request.caller,
            "models:call",
            model=request.model,
            texts=tuple(message.content for message in request.messages),
        )
        asked = ByteRequest(
            model=request.model,
            body=request.body,
            answer_id=request.answer_id,
            include_usage=request.include_usage,
            max_output_tokens=request.max_output_tokens,
            deadline=execution.deadline,
        )

        class Call(_DirectWork):
            async def run(self, _: Turn | None) -> UsageTotal:
                """Pass the model's bytes on."""
                await self.calls.bytes(execution, asked, write, planned=self.planned)
                return self.completed()

        return await self._kernel.run(execution, Call(self._calls, execution, asked))


class _DirectWork:
    """One call of a model."""

    def __init__(self, calls: ModelCalls, execution: Execution, request: Request) -> None:
        self.calls = calls
        self._execution = execution
        self._request = request
        self.planned: Planned

    def opening(self) -> Opening:
        """Return what is reserved."""
        self.planned = self.calls.planned(self._execution, self._request)
        return Opening(Wanted(self.planned.need, seconds=self._execution.seconds()))

    def remembered(self) -> Remembered:
        """Return nothing."""
        return Remembered()

    def stored(self) -> None:
        """Do nothing."""

    def completed(self) -> UsageTotal:
        """Note that all went well and return what it took."""
        self._execution.outcome = "completed"
        return self._execution.usage
