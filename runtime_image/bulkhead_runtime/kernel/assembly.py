"""Puts the kernel together: one ordered list of middleware for every way in."""

from dataclasses import dataclass

from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.kernel import extensions
from bulkhead_runtime.kernel.admission import Admission, Rates, RateWindow, SessionGate
from bulkhead_runtime.kernel.background import Background
from bulkhead_runtime.kernel.calls import ModelCalls
from bulkhead_runtime.kernel.compactor import Compactor
from bulkhead_runtime.kernel.deferred import DeferredSettlement
from bulkhead_runtime.kernel.direct import DirectModels
from bulkhead_runtime.kernel.executions import Executions
from bulkhead_runtime.kernel.granted_models import GrantedModels
from bulkhead_runtime.kernel.grants import Grants
from bulkhead_runtime.kernel.heads import SessionHeads
from bulkhead_runtime.kernel.idempotency import Idempotency
from bulkhead_runtime.kernel.image_calls import AgentCalls
from bulkhead_runtime.kernel.interruptions import Interruptions
from bulkhead_runtime.kernel.loop import AgentLoop
from bulkhead_runtime.kernel.middleware import (
    Kernel,
    Places,
    RateLimit,
    Telemetry,
    authorize,
    limit_input,
)
from bulkhead_runtime.kernel.moderation import InputModeration
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.kernel.safety import Injection
from bulkhead_runtime.kernel.settlement import Settlement
from bulkhead_runtime.kernel.steps import BudgetSteps
from bulkhead_runtime.kernel.tool_runs import ToolRuns
from bulkhead_runtime.kernel.turns import AgentTurns, TurnParts
from bulkhead_runtime.kernel.window import ContextWindow
from bulkhead_runtime.models.image_lane.images import Images
from bulkhead_runtime.models.port import Router
from bulkhead_runtime.routing.versions import VersionRouter
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.store.postgres.signals import Signals
from bulkhead_runtime.telemetry.flights import Flights
from bulkhead_runtime.telemetry.spans import Tracing
from bulkhead_runtime.tools.port import Tools


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What the kernel works with."""

    organization: str
    holder: ConfigurationHolder
    store: StoreOfRecord
    router: Router
    images: Images
    own_address: str
    tools: Tools
    versions: VersionRouter
    admission: Admission
    background: Background
    reports: Reports
    flights: Flights
    tracing: Tracing
    signals: Signals
    rates: Rates | None


@dataclass(frozen=True, slots=True)
class Entries:
    """The ways in."""

    turns: AgentTurns
    direct: DirectModels
    tool_runs: ToolRuns
    window: ContextWindow
    grants: Grants


def assemble(near: Neighbours) -> Entries:
    """Return the ways into one kernel."""
    interruptions = Interruptions(near.store, near.signals, near.background)
    executions = Executions(
        near.organization, near.store, near.background, near.flights, interruptions
    )
    calls = ModelCalls(near.router, near.tracing, near.reports)
    deferred = DeferredSettlement(near.store, near.background)
    granted = GrantedModels(calls, executions, deferred, near.background)
    grants = Grants(near.own_address, granted.call)
    agent_calls = AgentCalls(near.router, near.tracing, near.reports, near.images, grants)
    window = ContextWindow(near.router)
    kernel = _kernel(near, executions, deferred)
    parts = TurnParts(
        loop=AgentLoop(agent_calls, near.tools),
        calls=agent_calls,
        tools=near.tools,
        window=window,
        compactor=Compactor(
            near.store,
            calls,
            window,
            executions=executions,
            background=near.background,
            reports=near.reports,
        ),
        heads=SessionHeads(),
        reports=near.reports,
    )
    turns = AgentTurns(
        kernel=kernel,
        parts=parts,
        store=near.store,
        versions=near.versions,
        holder=near.holder,
        executions=executions,
    )
    return Entries(
        turns,
        DirectModels(kernel, calls, near.router, near.holder, executions),
        ToolRuns(kernel, near.tools, near.holder, executions),
        window,
        grants,
    )


def _kernel(near: Neighbours, executions: Executions, deferred: DeferredSettlement) -> Kernel:
    reports = near.reports
    idempotency = Idempotency(reports)
    settlement = Settlement(
        background=near.background,
        deferred=deferred,
        executions=executions,
        steps=BudgetSteps(reports),
        idempotency=idempotency,
        reports=reports,
        signals=near.signals,
    )
    return Kernel(
        telemetry=Telemetry(reports, near.tracing),
        idempotency=idempotency,
        checks=(authorize, limit_input, Injection(reports)),
        rate=RateLimit(RateWindow(), near.rates, near.admission),
        places=Places(SessionGate(), near.admission, executions),
        extensions=extensions.middlewares(),
        settlement=settlement,
        moderation=InputModeration(near.router, near.tracing, reports),
    )
