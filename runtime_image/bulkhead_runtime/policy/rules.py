"""Ordered rules, compiled: the first one that matches a call decides about it."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from bulkhead_api.v1alpha1.policies import ModelRule, ToolRule
from bulkhead_runtime.policy.conditions import Condition
from bulkhead_runtime.policy.patterns import Patterns
from bulkhead_runtime.policy.port import Decision, Effect

if TYPE_CHECKING:
    from bulkhead_runtime.kernel.context import Principal


class Question(Struct, frozen=True):
    """A call that is to be decided; `risk` is empty for a model."""

    name: str
    agent: str
    principal: "Principal"
    risk: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


class CompiledRule:
    """One rule; what it leaves out costs nothing to check."""

    __slots__ = (
        "_agents",
        "_conditions",
        "_names",
        "_principals",
        "_risks",
        "_scopes",
        "effect",
        "name",
    )

    def __init__(self, rule: ModelRule) -> None:
        allows = rule.effect == "Allow"
        self.name = rule.name
        self.effect: Effect = rule.effect
        self._names = Patterns(rule.match)
        self._agents = Patterns(rule.agents) if rule.agents else None
        self._principals = Patterns(rule.principals) if rule.principals else None
        self._scopes = _Scopes(rule.scopes, allows=allows) if rule.scopes else None
        self._risks: frozenset[str] = frozenset()
        self._conditions: tuple[Condition, ...] = ()
        if isinstance(rule, ToolRule):
            self._risks = frozenset(rule.risks)
            self._conditions = tuple(
                Condition(condition, every=allows) for condition in rule.arguments
            )

    def matches(self, question: Question) -> bool:
        """Tell whether everything that the rule names matches."""
        return (
            question.name in self._names
            and (self._agents is None or question.agent in self._agents)
            and (self._principals is None or question.principal.name in self._principals)
            and (not self._risks or question.risk in self._risks)
            and (self._scopes is None or self._scopes.held_by(question.principal))
            and all(condition.holds(question.arguments) for condition in self._conditions)
        )


class _Scopes:
    """Scopes of which one is enough.

    The scope that holds every other opens what asks for a scope, and is not what a rule means
    that closes something to those who have one.
    """

    __slots__ = ("_allows", "_patterns")

    def __init__(self, patterns: tuple[str, ...], *, allows: bool) -> None:
        self._patterns = Patterns(patterns)
        self._allows = allows

    def held_by(self, principal: "Principal") -> bool:
        if "*" in principal.scopes:
            return self._allows
        return any(scope in self._patterns for scope in principal.scopes)


class RuleList:
    """The rules of one policy; `otherwise` is what a call gets that none of them matches."""

    __slots__ = ("_default", "_name", "_rules")

    def __init__(self, name: str, rules: Iterable[ModelRule], otherwise: Effect) -> None:
        self._name = name
        self._rules = tuple(CompiledRule(rule) for rule in rules)
        reason = f"no rule of policy {name!r} matches"
        self._default = Decision(otherwise, f"{name}/default", reason)

    def decide(self, question: Question) -> Decision:
        """Return what the first matching rule says."""
        for rule in self._rules:
            if rule.matches(question):
                return Decision(rule.effect, f"{self._name}/{rule.name}", self._reason(rule))
        return self._default

    def _reason(self, rule: CompiledRule) -> str:
        match rule.effect:
            case "Allow":
                return f"rule {rule.name!r} of policy {self._name!r} allows it"
            case "Deny":
                return f"rule {rule.name!r} of policy {self._name!r} denies it"
            case "RequireApproval":
                return (
                    f"rule {rule.name!r} of policy {self._name!r} requires the approval of a "
                    "person, who cannot be asked yet: until then it is denied"
                )
