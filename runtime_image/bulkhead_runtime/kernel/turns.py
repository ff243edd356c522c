"""Turns of agents: in a session, which remembers, or without one."""

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from bulkhead_api.v1alpha1.agent_package import Agent
from bulkhead_runtime import errors
from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.config.snapshot import Configuration, Version
from bulkhead_runtime.kernel import failures
from bulkhead_runtime.kernel.background import Background
from bulkhead_runtime.kernel.context import ExecutionContext, Principal
from bulkhead_runtime.kernel.execution import Emit, Execution, Outcome, Started, UsageTotal
from bulkhead_runtime.kernel.loop import AgentLoop, LoopState
from bulkhead_runtime.kernel.middleware import Kernel
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import ModelMessage, ToolSpec
from bulkhead_runtime.routing.versions import VersionRouter, current_version
from bulkhead_runtime.store.port import (
    BeginTurn,
    FinishTurn,
    LedgerEntry,
    NewSession,
    PoolBounds,
    Session,
    SessionStore,
    Turn,
)
from bulkhead_runtime.telemetry.trace import Trace
from bulkhead_runtime.tools.port import ToolContext, Tools

TAIL_MESSAGES = 50
BYTES_PER_TOKEN = 4
LOCK_MARGIN_SECONDS = 30
"""How long after its deadline a turn that hangs still holds its session."""


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """A message to an agent, in the session that `session_id` names or in a new one."""

    agent: str
    message: str
    principal: str
    trace: Trace
    session_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StatelessRequest:
    """A whole conversation to an agent, of which nothing is remembered."""

    agent: str
    messages: tuple[ModelMessage, ...]
    trace: Trace
    max_output_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class TurnResult:
    """How a turn ended."""

    status: Outcome
    answer: str
    usage: UsageTotal
    agent: str
    version: str
    model: str
    trace_id: str
    finish_reason: str
    session_id: str | None


@dataclass(slots=True)
class _Prepared:
    version: Version
    agent: Agent
    state: LoopState
    context: ToolContext


def new_session_id() -> str:
    """Return an id that cannot be guessed."""
    return f"ses_{secrets.token_hex(16)}"


class AgentTurns:
    """Runs turns through the kernel."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        loop: AgentLoop,
        store: SessionStore,
        tools: Tools,
        versions: VersionRouter,
        holder: ConfigurationHolder,
        background: Background,
    ) -> None:
        self._kernel = kernel
        self._loop = loop
        self._store = store
        self._tools = tools
        self._versions = versions
        self._holder = holder
        self._background = background

    async def execute(self, request: TurnRequest, emit: Emit) -> TurnResult:
        """Run one turn in a session; when this returns the turn is on disk.

        Raises `Problem` for everything that is refused or fails; then nothing of the turn is
        remembered but what it used.
        """
        configuration = self._holder.require()
        session = await self._find(request, configuration)
        execution = self._execution(
            configuration, request.agent, request.trace, len(request.message)
        )
        execution.session_id = session.id if session else new_session_id()
        results: list[TurnResult] = []

        async def work() -> None:
            results.append(await self._turn(execution, request, session, emit))

        try:
            await self._kernel.run(execution, work)
        except errors.Problem as problem:
            problem.session_id = execution.session_id if execution.turn_begun else None
            raise
        return results[0]

    async def answer(self, request: StatelessRequest, emit: Emit) -> TurnResult:
        """Run an agent over a conversation that the client brings."""
        configuration = self._holder.require()
        if request.agent not in configuration.serving:
            raise errors.unknown_agent(request.agent)
        longest = max(len(message.content) for message in request.messages)
        execution = self._execution(configuration, request.agent, request.trace, longest)
        results: list[TurnResult] = []

        async def work() -> None:
            results.append(await self._stateless(execution, request, emit))

        await self._kernel.run(execution, work)
        return results[0]

    async def _find(self, request: TurnRequest, configuration: Configuration) -> Session | None:
        if request.session_id is None:
            if request.agent not in configuration.serving:
                raise errors.unknown_agent(request.agent)
            return None
        session = await self._store.session(
            request.session_id, request.principal, PoolBounds.of(configuration.source.pool)
        )
        if session.agent != request.agent:
            raise errors.Problem(
                409,
                "session_of_other_agent",
                f"The session belongs to agent {session.agent!r}. Send the message there, or "
                "leave out `session_id` to begin a new session.",
                field="session_id",
            )
        return session

    def _execution(
        self, configuration: Configuration, agent: str, trace: Trace, characters: int
    ) -> Execution:
        """Return the execution; its deadline follows the agent as it is now in service."""
        serving = configuration.serving.get(agent)
        timeout = (
            configuration.timeout_of(current_version(configuration, agent)[1])
            if serving
            else configuration.limits.max_execution_time_seconds
        )
        now = time.monotonic()
        return Execution(configuration, trace, agent, characters, now, now + timeout)

    async def _turn(
        self, execution: Execution, request: TurnRequest, session: Session | None, emit: Emit
    ) -> TurnResult:
        configuration = execution.configuration
        if session is None:
            version, agent = self._versions.for_new_session(configuration, request.agent)
        else:
            version, agent = self._versions.for_session(
                configuration, session.agent, session.package, session.version
            )
        begin = self._begin_request(execution, request, session, version, agent)
        turn = await self._begin(begin, execution)
        execution.turn_begun = True
        user = ModelMessage("user", request.message)
        prepared = self._prepare(
            execution, version, agent, (*turn.history, user), request.principal
        )
        try:
            await self._drive(execution, prepared, emit)
        except BaseException as error:
            status: Outcome = "error"
            if isinstance(error, asyncio.CancelledError) and time.monotonic() < execution.deadline:
                status = "interrupted"
            await self._settle(execution, turn, status, ())
            raise
        await self._settle(execution, turn, prepared.state.outcome, prepared.state.added)
        return _result(execution, prepared)

    async def _stateless(
        self, execution: Execution, request: StatelessRequest, emit: Emit
    ) -> TurnResult:
        version, agent = self._versions.for_new_session(execution.configuration, request.agent)
        prepared = self._prepare(execution, version, agent, request.messages)
        state = prepared.state
        state.temperature = request.temperature
        if request.max_output_tokens is not None:
            state.max_output_tokens = min(state.max_output_tokens, request.max_output_tokens)
        try:
            await self._drive(execution, prepared, emit)
        finally:
            self._store.record_use(_entry(execution))
        return _result(execution, prepared)

    def _begin_request(
        self,
        execution: Execution,
        request: TurnRequest,
        session: Session | None,
        version: Version,
        agent: Agent,
    ) -> BeginTurn:
        assert execution.session_id is not None
        new = None
        if session is None:
            new = NewSession(
                execution.session_id,
                request.principal,
                request.agent,
                version.package,
                version.version,
                request.metadata,
            )
        remaining = execution.deadline - time.monotonic() + LOCK_MARGIN_SECONDS
        return BeginTurn(
            session_id=execution.session_id,
            principal=request.principal,
            package=version.package,
            version=version.version,
            new=new,
            expected_bytes=len(request.message.encode())
            + agent.max_output_tokens * BYTES_PER_TOKEN,
            expires_at=int((time.time() + remaining) * 1000),
            tail=TAIL_MESSAGES,
        )

    async def _begin(self, request: BeginTurn, execution: Execution) -> Turn:
        """Begin the turn; when the client leaves meanwhile, release what was begun."""
        bounds = PoolBounds.of(execution.configuration.source.pool)
        begun = self._background.spawn(self._store.begin_turn(request, bounds))
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            self._background.spawn(self._release(begun, execution))
            raise

    async def _release(self, begun: asyncio.Task[Turn], execution: Execution) -> None:
        turn = await begun
        await self._store.finish_turn(
            FinishTurn(turn, "interrupted", (), _entry(execution)),
            PoolBounds.of(execution.configuration.source.pool),
        )

    async def _settle(
        self,
        execution: Execution,
        turn: Turn,
        status: Outcome,
        messages: tuple[ModelMessage, ...],
    ) -> None:
        """Store how the turn ended, whether or not the client still waits for it."""
        finish = FinishTurn(turn, status, messages, _entry(execution))  # type: ignore[arg-type]
        bounds = PoolBounds.of(execution.configuration.source.pool)
        await asyncio.shield(self._background.spawn(self._store.finish_turn(finish, bounds)))

    def _prepare(
        self,
        execution: Execution,
        version: Version,
        agent: Agent,
        conversation: tuple[ModelMessage, ...],
        principal: str = "",
    ) -> _Prepared:
        configuration = execution.configuration
        execution.package, execution.version = version.package, version.version
        execution.model = configuration.model_of(agent)
        messages = [ModelMessage("system", agent.instructions)] if agent.instructions else []
        messages.extend(conversation)
        state = LoopState(
            model=execution.model,
            messages=messages,
            known=len(messages) - 1,
            tools=self._specs(agent),
            max_iterations=agent.max_iterations,
            max_output_tokens=agent.max_output_tokens,
            deadline=execution.deadline,
            usage=execution.usage,
        )
        context = ToolContext(
            ExecutionContext(
                request_id="",
                trace=execution.trace,
                organization=configuration.source.organization,
                principal=Principal(principal, frozenset(), ""),
                deadline=execution.deadline,
                session_id=execution.session_id,
                agent=agent.name,
            ),
            agent.name,
            version.package,
            version.version,
        )
        return _Prepared(version, agent, state, context)

    def _specs(self, agent: Agent) -> tuple[ToolSpec, ...]:
        found = (self._tools.get(name) for name in agent.tools)
        return tuple(
            ToolSpec(tool.name, tool.description, tool.parameters) for tool in found if tool
        )

    async def _drive(self, execution: Execution, prepared: _Prepared, emit: Emit) -> None:
        await emit(
            Started(
                execution.session_id,
                execution.agent,
                execution.version,
                execution.model,
                execution.trace.trace_id,
            )
        )
        try:
            await self._loop.run(prepared.state, prepared.context, emit)
        except ModelError as error:
            raise failures.as_problem(error) from error
        execution.outcome = prepared.state.outcome


def _entry(execution: Execution) -> LedgerEntry:
    usage = execution.usage
    return LedgerEntry(
        agent=execution.agent,
        package=execution.package,
        version=execution.version,
        model=execution.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost=usage.cost,
        session_id=execution.session_id,
    )


def _result(execution: Execution, prepared: _Prepared) -> TurnResult:
    state = prepared.state
    return TurnResult(
        status=state.outcome,
        answer=state.answer,
        usage=execution.usage,
        agent=execution.agent,
        version=execution.version,
        model=state.model,
        trace_id=execution.trace.trace_id,
        finish_reason=state.finish_reason,
        session_id=execution.session_id,
    )
