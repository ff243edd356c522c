from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkhead_api.runtime_config import ModelsConfig, ProviderConfig
from bulkhead_api.v1alpha1.agent_package import Agent
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.planning import matches
from bulkhead_runtime.models.router import ModelRouter


@dataclass(frozen=True)
class Verdict:
    proceeds: bool
    rule: str = "models/no-big-ones"
    reason: str = "big models are for the board"


@dataclass
class Rules:
    """A policy engine that denies some models and keeps who asked."""

    denied: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []

    def decide_model(self, model: str, agent: str, context: Any) -> Verdict:
        self.asked.append((model, agent, context))
        return Verdict(model not in self.denied)


def router_of(
    directory: Path, *denied: str, rules: Rules | None = None, **models: Any
) -> ModelRouter:
    router = ModelRouter(directory, policy=rules or Rules(frozenset(denied)))
    providers = tuple(
        ProviderConfig(name=name, type="OpenAICompatible", base_url="http://x/v1", **settings)
        for name, settings in (("up", {}), ("other", {}), ("locked", {"has_credentials": True}))
    )
    router.configure(ModelsConfig(default="up/small", providers=providers, **models))
    return router


def test_the_organizations_fallbacks_follow_in_order_and_once(tmp_path: Path) -> None:
    router = router_of(tmp_path, fallbacks=("other/b", "up/small", "offline/echo", "other/b"))
    assert router.plan("up/small", None, None) == ("up/small", "other/b", "offline/echo")


def test_an_agents_own_fallbacks_go_before_the_organizations(tmp_path: Path) -> None:
    router = router_of(tmp_path, fallbacks=("other/b",))
    own = Agent(name="assistant", fallbacks=("up/c",))
    assert router.plan("up/small", own, None) == ("up/small", "up/c")
    assert router.plan("up/small", Agent(name="assistant"), None) == ("up/small", "other/b")


@pytest.mark.parametrize(
    ("agent", "model", "hint"),
    [
        pytest.param(None, "other/x", "spec.models.allowed", id="by the organization's patterns"),
        pytest.param(
            Agent(name="clerk", allowed_models=("up/small*",)),
            "up/large",
            "allowedModels of agent 'clerk'",
            id="by the agent's patterns",
        ),
        pytest.param(
            Agent(name="clerk", allowed_models=("*",)),
            "other/x",
            "spec.models.allowed",
            id="by the organization's, which the agent's cannot widen",
        ),
        pytest.param(None, "up/huge", "for the board (rule models/no-big-ones)", id="by a rule"),
    ],
)
def test_a_model_is_denied_with_the_reason(
    tmp_path: Path, agent: Agent | None, model: str, hint: str
) -> None:
    router = router_of(tmp_path, "up/huge", allowed=("up/*",))
    with pytest.raises(ModelError) as denied:
        router.plan(model, agent, None)
    assert denied.value.kind == "denied"
    assert hint in denied.value.message


def test_fallbacks_that_may_not_be_used_are_left_out(tmp_path: Path) -> None:
    router = router_of(
        tmp_path, "up/huge", allowed=("up/*",), fallbacks=("other/b", "up/huge", "up/c")
    )
    assert router.plan("up/small", None, None) == ("up/small", "up/c")


def test_the_engine_is_asked_with_the_agent_and_the_context(tmp_path: Path) -> None:
    rules, context = Rules(), object()
    router = router_of(tmp_path, rules=rules, fallbacks=("other/b",))
    router.plan("up/small", Agent(name="clerk"), context)
    router.plan("up/small", None, context)
    assert rules.asked[:2] == [("up/small", "clerk", context), ("other/b", "clerk", context)]
    assert rules.asked[2][1] == "direct"


def test_a_key_that_is_missing_is_told_where_no_fallback_could_answer(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as missing:
        router_of(tmp_path).plan("locked/x", None, None)
    assert missing.value.kind == "missing_credentials"
    saved = router_of(tmp_path, fallbacks=("up/small",))
    assert saved.plan("locked/x", None, None) == ("locked/x", "up/small")


@pytest.mark.parametrize(
    ("pattern", "model", "expected"),
    [
        ("*", "up/anything at all", True),
        ("up/*", "up/a/b", True),
        ("up/gpt-?", "up/gpt-4", True),
        ("up/gpt-?", "up/gpt-", False),
        ("up/gpt", "up/gpt-4", False),
        ("up/[a]", "up/[a]", True),
        ("up/[a]", "up/a", False),
        ("UP/*", "up/a", False),
        ("up/a.c", "up/abc", False),
        ("*a" * 100, "up/" + "a" * 99 + "b" * 100, False),
    ],
)
def test_a_star_is_anything_a_question_mark_one_and_the_rest_itself(
    pattern: str, model: str, *, expected: bool
) -> None:
    assert matches((pattern,), model) is expected
