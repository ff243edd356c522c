"""The one engine that decides about tools and models.

An organization's own rules decide first. Named policies that a request selects and policies that
were added through the API are asked besides, and the strictest answer holds: whatever they say,
they can only narrow. The organization's own policy in mode Audit lets calls through and reports
what it would have decided; what narrows it is carried out all the same.

Everything is compiled when the configuration changes, so that a decision takes microseconds.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from bulkhead_api.v1alpha1.policies import Mode, ModelPolicy, ToolPolicy
from bulkhead_runtime.policy.added import AddedPolicy
from bulkhead_runtime.policy.port import ORGANIZATION, Decision, Effect, RiskLevel
from bulkhead_runtime.policy.rules import Question, RuleList

if TYPE_CHECKING:
    from bulkhead_runtime.kernel.context import ExecutionContext

_STRICTNESS: Final[Mapping[Effect, int]] = {"Allow": 0, "RequireApproval": 1, "Deny": 2}


def _strictness(decision: Decision) -> int:
    return _STRICTNESS[decision.effect]


class _Policies:
    """All policies about one kind of call."""

    __slots__ = ("_added", "_audit", "_named", "_own")

    def __init__(
        self,
        own: RuleList,
        mode: Mode,
        named: Mapping[str, RuleList],
        added: tuple[RuleList, ...],
    ) -> None:
        self._own = own
        self._audit = mode == "Audit"
        self._named = named
        self._added = added

    def knows(self, name: str) -> bool:
        return name in self._named

    def decide(self, question: Question, selected: tuple[str, ...]) -> Decision:
        own = self._own.decide(question)
        if not selected and not self._added:
            return self._reported(own)
        narrowing = [self._named[name].decide(question) for name in selected if name in self._named]
        narrowing += [policy.decide(question) for policy in self._added]
        strictest = max(narrowing, key=_strictness, default=own)
        if _strictness(strictest) > (0 if self._audit else _strictness(own)):
            return strictest
        return self._reported(own)

    def _reported(self, own: Decision) -> Decision:
        if self._audit and own.effect != "Allow":
            return Decision(own.effect, own.rule, own.reason, audit=True)
        return own


class CompiledPolicies:
    """The policies of one organization; implements `policy.port.PolicyEngine`."""

    def __init__(self) -> None:
        self._tool_policy = ToolPolicy()
        self._model_policy = ModelPolicy()
        self._added: tuple[AddedPolicy, ...] = ()
        self._compile()

    def configure(self, tools: ToolPolicy, models: ModelPolicy) -> None:
        """Follow the organization's own policies."""
        self._tool_policy, self._model_policy = tools, models
        self._compile()

    def follow_added(self, policies: Iterable[AddedPolicy]) -> None:
        """Follow the policies that were added through the API, all of them."""
        self._added = tuple(policies)
        self._compile()

    def unknown(self, selected: Iterable[str]) -> tuple[str, ...]:
        """Return those of the selected names that no policy has."""
        return tuple(
            name for name in selected if not (self._tools.knows(name) or self._models.knows(name))
        )

    def decide_tool(
        self,
        name: str,
        arguments: Mapping[str, Any],
        risk: RiskLevel,
        agent: str,
        context: "ExecutionContext",
    ) -> Decision:
        """Decide about one call of a tool; the arguments have passed the tool's schema."""
        question = Question(name, agent, context.principal, risk, arguments)
        return self._decide(self._tools, question, context)

    def decide_model(self, model: str, agent: str, context: "ExecutionContext") -> Decision:
        """Decide about the use of a model by an agent, or by `direct` without one."""
        return self._decide(self._models, Question(model, agent, context.principal), context)

    def _decide(
        self, policies: _Policies, question: Question, context: "ExecutionContext"
    ) -> Decision:
        selected = context.policies
        if selected and (unknown := self.unknown(selected)):
            return Decision(
                "Deny",
                f"{unknown[0][:63]}/default",
                f"the selected policy {unknown[0][:63]!r} does not exist: select one of "
                "spec.tools.policy.named or spec.models.policy.named",
            )
        return policies.decide(question, selected)

    def _compile(self) -> None:
        tools, models = self._tool_policy, self._model_policy
        self._tools = _Policies(
            RuleList(ORGANIZATION, tools.rules, "Deny"),
            tools.mode,
            {named.name: RuleList(named.name, named.rules, "Deny") for named in tools.named},
            self._compiled_added("tool"),
        )
        self._models = _Policies(
            RuleList(ORGANIZATION, models.rules, "Allow"),
            models.mode,
            {named.name: RuleList(named.name, named.rules, "Deny") for named in models.named},
            self._compiled_added("model"),
        )

    def _compiled_added(self, kind: str) -> tuple[RuleList, ...]:
        return tuple(
            RuleList(policy.name, policy.rules, "Deny")
            for policy in self._added
            if policy.kind == kind
        )
