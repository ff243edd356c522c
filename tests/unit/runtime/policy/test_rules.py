"""Which rule decides about a call, and what it says."""

from typing import Any

import pytest

from bulkhead_api.v1alpha1.policies import ModelPolicy, ModelRule, ToolPolicy, ToolRule
from bulkhead_runtime.policy.engine import CompiledPolicies
from bulkhead_runtime.policy.patterns import Patterns
from bulkhead_runtime.policy.port import Decision
from tests.support.contexts import execution_context


def rule(effect: str = "Allow", name: str = "the-rule", **fields: Any) -> ToolRule:
    return ToolRule.model_validate({"name": name, "effect": effect, **fields})


def decide(
    *rules: ToolRule,
    tool: str = "crm__read",
    arguments: dict[str, Any] | None = None,
    risk: Any = "low",
    agent: str = "assistant",
    mode: Any = "Enforce",
    **context: Any,
) -> Decision:
    engine = CompiledPolicies()
    engine.configure(ToolPolicy(mode=mode, rules=rules), ModelPolicy())
    return engine.decide_tool(tool, arguments or {}, risk, agent, execution_context(**context))


def condition(path: str, operator: str, *values: str) -> dict[str, Any]:
    return {"path": path, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        pytest.param("crm__read", "crm__read", True, id="a plain name matches itself"),
        pytest.param("crm__read", "crm__READ", False, id="case counts"),
        pytest.param("crm__*", "crm__read", True, id="a star stands for the rest"),
        pytest.param("crm__*", "xcrm__read", False, id="a pattern begins at the beginning"),
        pytest.param("*", "", True, id="a lone star matches even nothing"),
        pytest.param("a?c", "abc", True, id="a question mark stands for one character"),
        pytest.param("a?c", "ac", False, id="a question mark never stands for none"),
        pytest.param("[ab]*", "a", False, id="brackets are no set"),
        pytest.param("[ab]*", "[ab]c", True, id="brackets stand for themselves"),
        pytest.param("a*", "a\nb", True, id="a line break does not end a name early"),
        pytest.param("a", "a\n", False, id="a line break at the end is not overlooked"),
        pytest.param("a?", "a\n", True, id="a question mark stands for a line break too"),
        pytest.param("*b", "a\nb\n", False, id="a star does not overlook the last line break"),
        pytest.param("a.c", "abc", False, id="a dot is no wildcard"),
    ],
)
def test_a_pattern(pattern: str, name: str, matches: bool) -> None:
    assert (name in Patterns([pattern])) is matches


def test_a_pattern_made_to_backtrack_decides_at_once() -> None:
    assert "a" * 60_000 + "c" not in Patterns(["*a" * 100 + "*b"])


@pytest.mark.parametrize(
    ("rules", "call", "effect", "decided_by"),
    [
        pytest.param((), {}, "Deny", "default", id="without a rule a tool is denied"),
        pytest.param((rule(),), {}, "Allow", "the-rule", id="a bare rule matches all"),
        pytest.param(
            (rule("Deny", "first", match=["crm__*"]), rule()),
            {},
            "Deny",
            "first",
            id="the first rule that matches decides",
        ),
        pytest.param(
            (rule("Deny", "first", match=["other"]), rule()),
            {},
            "Allow",
            "the-rule",
            id="a rule that does not match leaves the decision to the next",
        ),
        pytest.param(
            (rule("RequireApproval"),), {}, "RequireApproval", "the-rule", id="approval is needed"
        ),
        pytest.param(
            (rule(agents=["sales-*"]),),
            {"agent": "support"},
            "Deny",
            "default",
            id="a rule for other agents does not match",
        ),
        pytest.param(
            (rule(principals=["ann"]),),
            {"principal": "bob"},
            "Deny",
            "default",
            id="a rule for other principals does not match",
        ),
        pytest.param(
            (rule(risks=["low"]),),
            {"risk": "high"},
            "Deny",
            "default",
            id="a rule for another risk does not match",
        ),
        pytest.param(
            (rule(scopes=["tools:run", "x"]),),
            {"scopes": ("tools:run",)},
            "Allow",
            "the-rule",
            id="one of several scopes is enough",
        ),
        pytest.param(
            (rule(scopes=["tools:run"]),),
            {"scopes": ("*",)},
            "Allow",
            "the-rule",
            id="the scope that holds every other opens what asks for one",
        ),
        pytest.param(
            (rule("Deny", scopes=["trial"]), rule(name="rest")),
            {"scopes": ("*",)},
            "Allow",
            "rest",
            id="the scope that holds every other is not what a denial means",
        ),
    ],
)
def test_the_rule_that_decides(
    rules: tuple[ToolRule, ...], call: dict[str, Any], effect: str, decided_by: str
) -> None:
    decision = decide(*rules, **call)
    assert (decision.effect, decision.rule) == (effect, f"organization/{decided_by}")
    assert decision.proceeds is (effect == "Allow")


AMOUNT = {"amount": 100, "to": ["a@x.org", "b@x.org"], "deep": {"a/b": [{"k~": None}]}, "on": True}


@pytest.mark.parametrize(
    ("given", "holds"),
    [
        pytest.param(condition("/amount", "LessOrEqual", "100"), True, id="equal is less or equal"),
        pytest.param(condition("/amount", "LessOrEqual", "99.99"), False, id="more is not less"),
        pytest.param(condition("/amount", "GreaterOrEqual", "100.0"), True, id="equal is enough"),
        pytest.param(condition("/on", "GreaterOrEqual", "0"), False, id="true is not a number"),
        pytest.param(condition("/amount", "Equals", "100"), True, id="a number as text"),
        pytest.param(condition("/on", "In", "no", "true"), True, id="a boolean as text"),
        pytest.param(condition("/deep/a~1b/0/k~0", "Equals", "null"), True, id="a deep null"),
        pytest.param(condition("/deep/a~1b/1/k~0", "Exists"), False, id="an index too far"),
        pytest.param(condition("/deep/a~1b/-1/k~0", "Exists"), False, id="an index below zero"),
        pytest.param(condition("/deep/a~1b/²", "Exists"), False, id="a digit that is no index"),
        pytest.param(condition("/deep", "Exists"), True, id="something is there"),
        pytest.param(condition("/deep", "Matches", "*"), False, id="an object is no text"),
        pytest.param(condition("/missing", "Matches", "*"), False, id="what is absent"),
        pytest.param(condition("/to", "Matches", "*@x.org"), True, id="every element of a list"),
        pytest.param(condition("/to", "Equals", "a@x.org"), False, id="only one element of a list"),
    ],
)
def test_a_condition_that_an_allowing_rule_sets(given: dict[str, Any], holds: bool) -> None:
    decision = decide(rule(arguments=[given]), arguments=AMOUNT)
    assert (decision.effect == "Allow") is holds


@pytest.mark.parametrize("number", ["1e400", "NaN", "9" * 5000, "Infinity"])
def test_a_number_made_to_confuse_is_under_no_bound(number: str) -> None:
    bounded = rule(arguments=[condition("/n", "LessOrEqual", "5")])
    assert decide(bounded, arguments={"n": number}).effect == "Deny"


def test_one_element_of_a_list_is_enough_for_a_denial() -> None:
    denied = rule("Deny", "closed", arguments=[condition("/to", "Equals", "b@x.org")])
    assert decide(denied, rule(), arguments=AMOUNT).rule == "organization/closed"


def test_an_empty_list_meets_no_condition_of_an_allowing_rule() -> None:
    allowed = rule(arguments=[condition("/to", "Matches", "*")])
    assert decide(allowed, arguments={"to": []}).effect == "Deny"


def test_a_needed_approval_is_a_denial_that_says_why() -> None:
    decision = decide(rule("RequireApproval"))
    assert not decision.proceeds
    assert "approval of a person, who cannot be asked yet" in decision.reason


def test_in_audit_mode_the_call_proceeds_and_the_decision_is_what_would_have_been() -> None:
    decision = decide(rule("Deny", "closed"), mode="Audit")
    assert decision.proceeds
    assert (decision.audit, decision.effect, decision.rule) == (True, "Deny", "organization/closed")


def test_in_audit_mode_what_is_allowed_is_nothing_to_report() -> None:
    assert decide(rule(), mode="Audit").audit is False


def test_the_rules_that_every_organization_begins_with_allow_the_two_harmless_tools() -> None:
    engine, context = CompiledPolicies(), execution_context()
    allowed = {
        tool: engine.decide_tool(tool, {}, "low", "assistant", context).proceeds
        for tool in ("calculate", "current_time", "web_fetch", "search_documents")
    }
    assert allowed == {
        "calculate": True,
        "current_time": True,
        "web_fetch": False,
        "search_documents": False,
    }


def test_a_model_that_no_rule_matches_is_allowed_and_one_that_a_rule_denies_is_not() -> None:
    engine = CompiledPolicies()
    denied = ModelRule(name="dear", effect="Deny", match=("*/opus-*",))
    engine.configure(ToolPolicy(), ModelPolicy(rules=(denied,)))
    context = execution_context()
    assert engine.decide_model("any/small", "assistant", context).proceeds
    decision = engine.decide_model("any/opus-9", "assistant", context)
    assert (decision.effect, decision.rule) == ("Deny", "organization/dear")
