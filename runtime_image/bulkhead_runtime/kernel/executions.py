"""Makes executions with all that belongs to them, and knows which sessions are in a turn here."""

import time
from typing import Final

from msgspec.structs import replace

from bulkhead_api.v1alpha1.agent_package import Agent
from bulkhead_runtime.config.snapshot import Configuration, Version
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.identifiers import random_hex
from bulkhead_runtime.kernel.accounts import BudgetLimits, accounts_of, allowance_of
from bulkhead_runtime.kernel.allowance import Allowance
from bulkhead_runtime.kernel.background import Background
from bulkhead_runtime.kernel.context import ExecutionContext
from bulkhead_runtime.kernel.derived import Derived
from bulkhead_runtime.kernel.execution import DIRECT, Entry, Execution
from bulkhead_runtime.kernel.idempotency import claim_of
from bulkhead_runtime.kernel.interruptions import Interruptions
from bulkhead_runtime.kernel.purse import Purse
from bulkhead_runtime.kernel.requests import Caller
from bulkhead_runtime.store.of_record import StoreOfRecord
from bulkhead_runtime.telemetry.flights import Flights

_SECONDS: Final = "seconds"


def new_session_id() -> str:
    """Return an id that cannot be guessed."""
    return f"ses_{random_hex(16)}"


class Executions:
    """The factory of executions of one organization."""

    def __init__(
        self,
        organization: str,
        store: StoreOfRecord,
        background: Background,
        flights: Flights,
        interruptions: Interruptions,
    ) -> None:
        self._organization = organization
        self._store = store
        self._background = background
        self._flights = flights
        self._interruptions = interruptions
        self._limits_of = Derived(BudgetLimits.of)

    def of_agent(
        self,
        configuration: Configuration,
        version: Version,
        agent: Agent,
        caller: Caller,
        *,
        texts: tuple[str, ...],
        session_id: str | None,
    ) -> Execution:
        """Return the execution of an agent's turn."""
        execution = self._execution(
            configuration, caller, "agents:run", agent=agent, session_id=session_id
        )
        execution.texts = texts
        execution.package, execution.version = version.package, version.version
        execution.model = configuration.model_of(agent)
        return execution

    def direct(
        self,
        configuration: Configuration,
        caller: Caller,
        entry: Entry,
        *,
        model: str = "",
        texts: tuple[str, ...] = (),
    ) -> Execution:
        """Return the execution of a model or a tool without an agent."""
        execution = self._execution(configuration, caller, entry, agent=None, session_id=None)
        execution.texts = texts
        execution.model = model
        return execution

    def following(self, execution: Execution, seconds: float) -> Execution:
        """Return the execution of work that another one left behind, with a purse of its own."""
        started = time.monotonic()
        context = replace(
            execution.context.child(allowance=Allowance({})), deadline=started + seconds
        )
        return self._with_purse(execution, context, started)

    def beside(self, execution: Execution) -> Execution:
        """Return the execution of work that another one does beside, with a purse of its own.

        It ends in time with the other, and shares what the request may use.
        """
        return self._with_purse(execution, execution.context.child(), time.monotonic())

    def _with_purse(
        self, execution: Execution, context: ExecutionContext, started: float
    ) -> Execution:
        limits = self._limits_of(execution.configuration.source.budgets)
        return Execution(
            configuration=execution.configuration,
            context=context,
            entry=execution.entry,
            purse=self._purse(limits, context),
            started=started,
            agent=execution.agent,
            definition=execution.definition,
            package=execution.package,
            version=execution.version,
            model=execution.model,
        )

    def entered(self, execution: Execution) -> None:
        """Note that work runs here, and in which session."""
        self._flights.began((execution.package, execution.version), execution.agent)
        if execution.session_id is not None:
            self._interruptions.began(execution.session_id, execution)

    def left(self, execution: Execution) -> None:
        """Note that it runs no longer."""
        self._flights.ended((execution.package, execution.version), execution.agent)
        if execution.session_id is not None:
            self._interruptions.ended(execution.session_id)

    def queue_behind(self, session_id: str) -> None:
        """Show in the store that a message waits for the turn that runs here, once per turn."""
        execution = self._interruptions.running.get(session_id)
        if execution is not None and execution.turn is not None and not execution.followed:
            execution.followed = True
            self._background.spawn(self._store.mark(execution.turn, "executing_queued"))

    async def interrupt(self, session_id: str) -> None:
        """End the turn of a session, in whichever replica; raise a 409 `Problem` without one."""
        if not await self._interruptions.ask(session_id):
            raise Problem(
                409, "no_turn", "No turn of this session runs, so there is nothing to interrupt."
            )

    def _execution(
        self,
        configuration: Configuration,
        caller: Caller,
        entry: Entry,
        *,
        agent: Agent | None,
        session_id: str | None,
    ) -> Execution:
        name = agent.name if agent is not None else DIRECT
        limits = self._limits_of(configuration.source.budgets)
        allowance = allowance_of(limits, agent)
        started = time.monotonic()
        context = ExecutionContext(
            request_id=caller.request_id,
            trace=caller.trace,
            organization=self._organization,
            principal=caller.principal,
            deadline=started + _seconds(configuration, agent, float(allowance.left(_SECONDS) or 0)),
            session_id=session_id,
            agent=name,
            policies=caller.policies,
            allowance=allowance,
        )
        repeatable = caller.repeatable
        return Execution(
            configuration=configuration,
            context=context,
            entry=entry,
            purse=self._purse(limits, context),
            started=started,
            agent=name,
            definition=agent,
            repeatable=repeatable,
            claim=claim_of(repeatable, caller.principal.name) if repeatable else None,
        )

    def _purse(self, limits: BudgetLimits, context: ExecutionContext) -> Purse:
        return Purse(
            self._store,
            accounts_of(limits, agent=context.agent, session_id=context.session_id),
            context.allowance,
            principal=context.principal.name,
            agent=context.agent,
        )


def _seconds(configuration: Configuration, agent: Agent | None, budgeted: float) -> float:
    """Return how long work may take: by the limits, the agent and the budget of a request."""
    limit = configuration.limits.max_execution_time_seconds
    own = configuration.timeout_of(agent) if agent is not None else limit
    return min(own, budgeted or limit)
