"""Calls models for images of packages, on the account of the execution that the image answers.

Several may run at once, so each has a reservation of its own: what one has reserved must not seem
to be enough for all.
"""

import asyncio
import time

from bulkhead_runtime.kernel.background import Background
from bulkhead_runtime.kernel.bounds import Wanted, whole_seconds
from bulkhead_runtime.kernel.calls import ModelCalls, Take
from bulkhead_runtime.kernel.deferred import DeferredSettlement
from bulkhead_runtime.kernel.derived import Derived
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.kernel.executions import Executions
from bulkhead_runtime.kernel.settlement import Renewal
from bulkhead_runtime.models.port import ModelRequest, Usage
from bulkhead_runtime.store.port import PoolBounds


class GrantedModels:
    """Makes calls that end before the execution does, and are settled by themselves."""

    def __init__(
        self,
        calls: ModelCalls,
        executions: Executions,
        deferred: DeferredSettlement,
        background: Background,
    ) -> None:
        self._calls = calls
        self._executions = executions
        self._deferred = deferred
        self._background = background
        self._bounds = Derived(PoolBounds.configured)

    async def call(self, execution: Execution, request: ModelRequest, take: Take) -> None:
        """Hand every part of a model's answer to `take`.

        Raises `ModelError` when no model answers, and the `Problem`s of budgets.
        """
        beside = self._executions.beside(execution)
        renewal = Renewal(beside, self._background)
        beside.runs_in(asyncio.current_task())
        try:
            planned = self._calls.planned(beside, request)
            if not beside.purse.asks_nothing:
                bounds = self._bounds(execution.configuration.source)
                await beside.purse.begin(Wanted(planned.need), bounds, turn=None, claim=None)
            await self._calls.stream(beside, request, take, planned=planned)
        finally:
            renewal.stop()
            beside.runs_in(None)
            self._settle(execution, beside)

    def _settle(self, execution: Execution, beside: Execution) -> None:
        used, purse = beside.usage, beside.purse
        execution.usage.add(Usage(used.input_tokens, used.output_tokens, used.known_cost))
        if purse.held or purse.lines:
            closing = purse.closing(whole_seconds(time.monotonic() - beside.started))
            bounds = self._bounds(execution.configuration.source)
            self._deferred.add(closing, bounds, reserved=purse.held)
