"""Whatever is selected or added, it only ever narrows what the organization's own rules allow."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead_api.v1alpha1.policies import ModelPolicy, NamedToolPolicy, ToolPolicy, ToolRule
from bulkhead_runtime.policy.added import AddedPolicy
from bulkhead_runtime.policy.engine import CompiledPolicies
from bulkhead_runtime.policy.port import Decision
from tests.support.contexts import execution_context

NAMES = ["crm__read", "crm__write", "web_fetch", "calculate"]
PATTERNS = [*NAMES, "*", "crm__*", "*read"]
STRICTNESS = {"Allow": 0, "RequireApproval": 1, "Deny": 2}

conditions = st.fixed_dictionaries(
    {
        "path": st.sampled_from(["/a", "/b"]),
        "operator": st.sampled_from(["Equals", "LessOrEqual", "Matches"]),
        "values": st.lists(st.sampled_from(["1", "2"]), min_size=1, max_size=1),
    }
)


def few(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True)


rule_fields = st.fixed_dictionaries(
    {
        "effect": st.sampled_from(["Allow", "Deny", "RequireApproval"]),
        "match": st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2, unique=True),
        "agents": few(["assistant", "sales-*"]),
        "principals": few(["ann", "b*"]),
        "scopes": few(["tools:run", "*"]),
        "risks": few(["low", "high"]),
        "arguments": st.lists(conditions, max_size=2),
    }
)


@st.composite
def rule_lists(draw: Any, least: int = 0) -> tuple[ToolRule, ...]:
    drawn = draw(st.lists(rule_fields, min_size=least, max_size=4))
    return tuple(
        ToolRule.model_validate({"name": f"r{number}", **fields})
        for number, fields in enumerate(drawn)
    )


calls = st.fixed_dictionaries(
    {
        "name": st.sampled_from(NAMES),
        "risk": st.sampled_from(["low", "medium", "high"]),
        "agent": st.sampled_from(["assistant", "sales-eu"]),
        "principal": st.sampled_from(["ann", "bob"]),
        "scopes": st.sampled_from([(), ("tools:run",), ("*",)]),
        "arguments": st.dictionaries(
            st.sampled_from(["a", "b"]), st.sampled_from([0, 1, 2.5, "2", [1, 3], None])
        ),
    }
)


def decided(
    own: ToolPolicy,
    call: dict[str, Any],
    added: tuple[tuple[ToolRule, ...], ...] = (),
    selected: tuple[str, ...] = (),
) -> Decision:
    engine = CompiledPolicies()
    engine.configure(own, ModelPolicy())
    engine.follow_added(
        AddedPolicy("tool", f"added-{number}", rules) for number, rules in enumerate(added)
    )
    context = execution_context(
        principal=call["principal"], scopes=call["scopes"], policies=selected
    )
    return engine.decide_tool(call["name"], call["arguments"], call["risk"], call["agent"], context)


def passes(decision: Decision) -> int:
    """Return how strict the outcome of a decision is: what is audited goes on."""
    return 0 if decision.proceeds else STRICTNESS[decision.effect]


@settings(max_examples=400, deadline=None)
@given(
    mode=st.sampled_from(["Enforce", "Audit"]),
    own=rule_lists(),
    added=st.lists(rule_lists(1), max_size=3),
    call=calls,
)
def test_no_policy_of_the_api_widens_the_organizations_own(
    mode: Any, own: tuple[ToolRule, ...], added: list[tuple[ToolRule, ...]], call: dict[str, Any]
) -> None:
    policy = ToolPolicy(mode=mode, rules=own)
    assert passes(decided(policy, call, tuple(added))) >= passes(decided(policy, call))


@settings(max_examples=300, deadline=None)
@given(own=rule_lists(), named=rule_lists(1), call=calls)
def test_no_selected_policy_widens_the_organizations_own(
    own: tuple[ToolRule, ...], named: tuple[ToolRule, ...], call: dict[str, Any]
) -> None:
    policy = ToolPolicy(rules=own, named=(NamedToolPolicy(name="narrow", rules=named),))
    assert passes(decided(policy, call, selected=("narrow",))) >= passes(decided(policy, call))


def test_an_added_denial_is_carried_out_in_audit_mode_too() -> None:
    deny = (ToolRule(name="closed", effect="Deny", match=("calculate",)),)
    call = {"name": "calculate", "risk": "low", "agent": "a", "principal": "ann", "scopes": ()}
    decision = decided(ToolPolicy(mode="Audit"), {**call, "arguments": {}}, (deny,))
    assert not decision.proceeds
    assert decision.rule == "added-0/closed"


def test_an_added_policy_denies_what_none_of_its_rules_matches() -> None:
    only_time = (ToolRule(name="time", effect="Allow", match=("current_time",)),)
    call = {"risk": "low", "agent": "a", "principal": "ann", "scopes": (), "arguments": {}}
    assert decided(ToolPolicy(), {**call, "name": "current_time"}, (only_time,)).proceeds
    decision = decided(ToolPolicy(), {**call, "name": "calculate"}, (only_time,))
    assert (decision.effect, decision.rule) == ("Deny", "added-0/default")


def test_a_selected_policy_denies_what_none_of_its_rules_matches() -> None:
    only_time = ToolRule(name="time", effect="Allow", match=("current_time",))
    own = ToolPolicy(named=(NamedToolPolicy(name="narrow", rules=(only_time,)),))
    call = {"name": "calculate", "risk": "low", "agent": "a", "principal": "ann", "scopes": ()}
    decision = decided(own, {**call, "arguments": {}}, selected=("narrow",))
    assert (decision.effect, decision.rule) == ("Deny", "narrow/default")


def test_a_selected_policy_that_does_not_exist_denies_everything() -> None:
    call = {"name": "calculate", "risk": "low", "agent": "a", "principal": "ann", "scopes": ()}
    decision = decided(ToolPolicy(), {**call, "arguments": {}}, selected=("mistyped",))
    assert not decision.proceeds
    assert "'mistyped' does not exist" in decision.reason
