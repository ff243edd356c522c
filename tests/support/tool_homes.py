"""Registries and runners of tools, with real policy, metrics and tracing, that tests watch."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp.abc import AbstractResolver

from bulkhead_api.v1alpha1.agent_package import HttpTool
from bulkhead_api.v1alpha1.policies import ModelPolicy, ToolPolicy, ToolRule
from bulkhead_api.v1alpha1.tools import Tools
from bulkhead_runtime.events.port import Event
from bulkhead_runtime.policy.engine import CompiledPolicies
from bulkhead_runtime.telemetry.instruments import Instruments
from bulkhead_runtime.telemetry.measurements import VersionMeasurements
from bulkhead_runtime.telemetry.spans import Tracing
from bulkhead_runtime.telemetry.work_metrics import ToolMetrics
from bulkhead_runtime.tools.port import ToolContext
from bulkhead_runtime.tools.registry import ToolRegistry
from bulkhead_runtime.tools.reports import ToolReports
from bulkhead_runtime.tools.runner import ToolRunner
from bulkhead_runtime.tools.surroundings import Surroundings
from tests.support.contexts import execution_context
from tests.support.metric_values import value_of

ALLOW_ALL = ToolRule(name="all", effect="Allow")
PACKAGE = ("assistant", "1.0.0")


@dataclass
class Heard:
    """Events as a subscriber hears them."""

    events: list[Event] = field(default_factory=list)

    def publish(self, event: Event) -> None:
        self.events.append(event)

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def data(self, name: str) -> list[dict[str, Any]]:
        return [dict(event.data) for event in self.events if event.type == name]


@dataclass
class ToolHome:
    """A registry and everything that a test looks at."""

    registry: ToolRegistry
    runner: ToolRunner
    heard: Heard
    metrics: Instruments
    policies: CompiledPolicies

    def counted(self, tool: str, outcome: str) -> object:
        return value_of(self.metrics, "bulkhead_tool_calls_total", tool=tool, outcome=outcome)

    def configure(self, *declared: HttpTool, **settings: Any) -> None:
        """Follow settings; package tools belong to `PACKAGE`."""
        self.registry.configure(Tools.model_validate(settings), {PACKAGE: declared})


def tool_home(
    directory: Path,
    *,
    rules: Iterable[ToolRule] = (ALLOW_ALL,),
    public: Callable[[str], bool] = lambda _: False,
    private: Callable[[str], bool] = lambda _: False,
    resolver: AbstractResolver | None = None,
    tracing: Tracing | None = None,
) -> ToolHome:
    """Return a home whose folders lie in `directory`; the predicates say what may be reached."""
    policies, heard, metrics = CompiledPolicies(), Heard(), Instruments()
    policies.configure(ToolPolicy(rules=tuple(rules)), ModelPolicy())
    runner = ToolRunner(
        policies,
        ToolReports(heard, ToolMetrics(metrics), VersionMeasurements(), tracing or Tracing()),
    )
    surroundings = Surroundings(
        secrets=directory / "secrets",
        documents=directory / "documents",
        public=public,
        private=private,
        resolver=resolver,
    )
    return ToolHome(ToolRegistry(runner, surroundings), runner, heard, metrics, policies)


def tool_context(*, seconds: float = 60, package: bool = False, **fields: Any) -> ToolContext:
    """Return the context of a call by the agent `assistant`, of `PACKAGE` if that is asked."""
    name, version = PACKAGE if package else ("", "")
    context = execution_context(seconds=seconds)
    return ToolContext(context, "assistant", package=name, version=version, **fields)
