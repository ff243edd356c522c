"""The port between everything that spends or acts and the rules that say whether it may.

A decision is made without waiting and without raising: what cannot be decided is denied.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from bulkhead_runtime.kernel.context import ExecutionContext

Effect = Literal["Allow", "Deny", "RequireApproval"]
RiskLevel = Literal["low", "medium", "high"]

ORGANIZATION: Final = "organization"
"""Stands for the organization's own policy in decisions."""


class Decision(Struct, frozen=True):
    """What the rules say of one call, by which rule, and why in words for people.

    `rule` is POLICY/RULE, or POLICY/default where no rule matched. With `audit` the call goes on
    whatever the effect: the decision is reported as what would have been.
    """

    effect: Effect
    rule: str
    reason: str
    audit: bool = False

    @property
    def proceeds(self) -> bool:
        """Tell whether the call may be made."""
        return self.audit or self.effect == "Allow"


class PolicyEngine(Protocol):
    """Decides; the implementation is `policy.engine.CompiledPolicies`."""

    def decide_tool(
        self,
        name: str,
        arguments: Mapping[str, Any],
        risk: RiskLevel,
        agent: str,
        context: "ExecutionContext",
    ) -> Decision:
        """Decide about one call of a tool; the arguments have passed the tool's schema."""
        ...

    def decide_model(self, model: str, agent: str, context: "ExecutionContext") -> Decision:
        """Decide about the use of a model by an agent, or by `direct` without one."""
        ...
