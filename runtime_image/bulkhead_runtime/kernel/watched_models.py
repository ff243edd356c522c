"""Tells what a policy about models in mode Audit would have stopped; it is answered all the same.

Planning asks the policy for the same model several times in one run, and a report of each would
bury the others.
"""

from collections import OrderedDict
from typing import Final

from bulkhead_runtime.kernel.context import ExecutionContext
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.policy.port import Decision, PolicyEngine

_REMEMBERED: Final = 1024


class WatchedModels:
    """Asks the policy engine about models; reports once per run what it would have denied."""

    def __init__(self, policy: PolicyEngine, reports: Reports) -> None:
        self._policy = policy
        self._reports = reports
        self._told: OrderedDict[tuple[str, str], None] = OrderedDict()

    def decide_model(self, model: str, agent: str, context: ExecutionContext) -> Decision:
        """Return the engine's decision."""
        decision = self._policy.decide_model(model, agent, context)
        if decision.audit and self._is_news((context.run_id, model)):
            self._reports.model_watched(model, decision, context)
        return decision

    def _is_news(self, told: tuple[str, str]) -> bool:
        if told in self._told:
            return False
        self._told[told] = None
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        return True
