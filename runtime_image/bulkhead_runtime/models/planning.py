"""Which models may answer, and in which order they are asked.

The organization's allowed models, narrowed by the agent's, bound what the policy engine is asked
about; no rule can widen them.
"""

import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final, Protocol

from bulkhead_api.runtime_config import ModelsConfig
from bulkhead_api.v1alpha1.agent_package import Agent
from bulkhead_runtime.models.errors import ModelError

DIRECT: Final = "direct"
"""Stands for the agent where a client addresses a model."""


class Verdict(Protocol):
    """What the policy engine decides; `policy.port.Decision` is one."""

    @property
    def proceeds(self) -> bool:
        """Tell whether the call may be made."""
        ...

    @property
    def rule(self) -> str:
        """Return the rule that decided."""
        ...

    @property
    def reason(self) -> str:
        """Return why, in words for people."""
        ...


class ModelPolicy(Protocol):
    """Decides about the use of a model; `policy.port.PolicyEngine` does."""

    def decide_model(self, model: str, agent: str, context: Any) -> Verdict:
        """Decide, without waiting and without raising."""
        ...


class Planner:
    """Makes plans for one configuration; without a policy engine only the patterns decide.

    `fallbacks` are the organization's, for agents without their own and for clients.
    """

    def __init__(self, policy: ModelPolicy | None) -> None:
        self._policy = policy
        self._allowed: Sequence[str] = ("*",)
        self.fallbacks: tuple[str, ...] = ()

    def configure(self, models: ModelsConfig) -> None:
        """Follow a new configuration."""
        self._allowed = models.allowed
        self.fallbacks = models.fallbacks

    def plan(self, model: str, agent: Agent | None, context: Any) -> tuple[str, ...]:
        """Return this model and the fallbacks that may be used; raise `ModelError` if it may not.

        A fallback that may not be used is left out.
        """
        self._check(model, agent, context)
        fallbacks = (agent.fallbacks if agent is not None else ()) or self.fallbacks
        plan = [model]
        for fallback in fallbacks:
            if fallback not in plan and self._may(fallback, agent, context):
                plan.append(fallback)
        return tuple(plan)

    def lists(self, model: str) -> bool:
        """Tell whether the organization's patterns allow a model."""
        return matches(self._allowed, model)

    def _may(self, model: str, agent: Agent | None, context: Any) -> bool:
        try:
            self._check(model, agent, context)
        except ModelError:
            return False
        return True

    def _check(self, model: str, agent: Agent | None, context: Any) -> None:
        if not matches(self._allowed, model):
            raise _denied(model, "add it to spec.models.allowed of the OrganizationRuntime")
        if agent is not None and agent.allowed_models and not matches(agent.allowed_models, model):
            raise _denied(model, f"add it to allowedModels of agent {agent.name!r}")
        if self._policy is None:
            return
        name = agent.name if agent is not None else DIRECT
        verdict = self._policy.decide_model(model, name, context)
        if not verdict.proceeds:
            raise _denied(model, f"{verdict.reason} (rule {verdict.rule})")


def matches(patterns: Sequence[str], model: str) -> bool:
    """Tell whether one of the patterns matches: `*` is any characters, `?` is one."""
    return any(_compiled(pattern)(model) is not None for pattern in patterns)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Callable[[str], re.Match[str] | None]:
    # Brackets are characters like others here, and fnmatch's groups are atomic: no pattern is slow.
    return re.compile(translate(pattern.replace("[", "[[]"))).match


def _denied(model: str, why: str) -> ModelError:
    return ModelError("denied", f"Model {model[:256]!r} may not be used: {why}.")
