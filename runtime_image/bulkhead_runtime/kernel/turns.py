"""Turns of agents: in a session, which remembers, or without one."""

from dataclasses import dataclass

from bulkhead_api.v1alpha1.agent_package import Agent
from bulkhead_runtime import errors
from bulkhead_runtime.config.holder import ConfigurationHolder
from bulkhead_runtime.config.snapshot import Configuration, Version
from bulkhead_runtime.kernel.bounds import CallNeed, Wanted
from bulkhead_runtime.kernel.calls import ModelCalls
from bulkhead_runtime.kernel.compaction import tail_of
from bulkhead_runtime.kernel.compactor import Compactor
from bulkhead_runtime.kernel.execution import (
    Emit,
    Execution,
    Outcome,
    Started,
    UsageTotal,
    discard,
)
from bulkhead_runtime.kernel.executions import Executions, new_session_id
from bulkhead_runtime.kernel.heads import BYTES_PER_TOKEN, Head, SessionHeads
from bulkhead_runtime.kernel.loop import AgentLoop, LoopState
from bulkhead_runtime.kernel.middleware import Kernel
from bulkhead_runtime.kernel.purse import lease_until
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.kernel.requests import StatelessRequest, TurnRequest
from bulkhead_runtime.kernel.settlement import Opening, Remembered
from bulkhead_runtime.kernel.window import ContextWindow, Conversation
from bulkhead_runtime.models.port import CacheScope, ModelMessage, ToolSpec
from bulkhead_runtime.routing.versions import VersionRouter
from bulkhead_runtime.store.port import (
    BeginTurn,
    NewSession,
    PoolBounds,
    SessionStore,
    Turn,
)
from bulkhead_runtime.tools.port import Tools


@dataclass(frozen=True, slots=True)
class TurnResult:
    """How a turn ended; `warnings` are for the client."""

    status: Outcome
    answer: str
    usage: UsageTotal
    agent: str
    version: str
    model: str
    trace_id: str
    finish_reason: str
    session_id: str | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnParts:
    """What turns are made with; one set for the process."""

    loop: AgentLoop
    calls: ModelCalls
    tools: Tools
    window: ContextWindow
    compactor: Compactor
    heads: SessionHeads
    reports: Reports


class AgentTurns:
    """Runs turns through the kernel."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        parts: TurnParts,
        store: SessionStore,
        versions: VersionRouter,
        holder: ConfigurationHolder,
        executions: Executions,
    ) -> None:
        self._kernel = kernel
        self._parts = parts
        self._store = store
        self._versions = versions
        self._holder = holder
        self._executions = executions

    async def execute(self, request: TurnRequest, emit: Emit) -> TurnResult:
        """Run one turn in a session; when this returns the turn is in the store.

        Raises `Problem` for everything that is refused or fails, `Repeated` for what was answered
        before; nothing of a failed turn is remembered but what it used.
        """
        configuration = self._holder.require()
        head = await self._head(request, configuration)
        version, agent = self._version(configuration, request.agent, head)
        execution = self._executions.of_agent(
            configuration,
            version,
            agent,
            request.caller,
            texts=(request.message,),
            session_id=request.session_id or new_session_id(),
        )
        work = _SessionTurn(self._parts, execution, request, head, emit)
        return await self._kernel.run(execution, work)

    async def answer(self, request: StatelessRequest, emit: Emit) -> TurnResult:
        """Run an agent over a conversation that the client brings."""
        configuration = self._holder.require()
        version, agent = self._versions.for_new_session(configuration, request.agent)
        return await self._answered(configuration, version, agent, request, emit)

    async def check(self, version: Version, request: StatelessRequest) -> TurnResult:
        """Run an agent of this version, whatever the version's share of new sessions is."""
        agent = version.agents.get(request.agent)
        if agent is None:
            raise errors.unknown_agent(request.agent)
        return await self._answered(self._holder.require(), version, agent, request, discard)

    async def _answered(
        self,
        configuration: Configuration,
        version: Version,
        agent: Agent,
        request: StatelessRequest,
        emit: Emit,
    ) -> TurnResult:
        written = tuple(m.content for m in request.messages if m.role == "user")
        execution = self._executions.of_agent(
            configuration, version, agent, request.caller, texts=written, session_id=None
        )
        return await self._kernel.run(
            execution, _StatelessTurn(self._parts, execution, request, emit)
        )

    async def interrupt(self, session_id: str, principal: str | None) -> None:
        """Stop the turn of a session within a second, whichever replica it runs in.

        Raises a 404 `Problem` for a session that is not this principal's, a 409 where none runs.
        """
        bounds = PoolBounds.configured(self._holder.require().source)
        session = await self._store.session(session_id, principal, bounds)
        await self._executions.interrupt(session.id)

    async def _head(self, request: TurnRequest, configuration: Configuration) -> Head | None:
        """Return what is known of the session that the request continues."""
        if request.session_id is None:
            return None
        principal = request.caller.principal.whose_sessions
        head = self._parts.heads.get(request.session_id, principal)
        if head is None:
            bounds = PoolBounds.configured(configuration.source)
            head = Head.of(await self._store.session(request.session_id, principal, bounds))
            self._parts.heads.put(request.session_id, head)
        if head.agent != request.agent:
            raise errors.Problem(
                409,
                "session_of_other_agent",
                f"The session belongs to agent {head.agent!r}. Send the message there, or "
                "leave out `session_id` to begin a new session.",
                field="session_id",
            )
        return head

    def _version(
        self, configuration: Configuration, agent: str, head: Head | None
    ) -> tuple[Version, Agent]:
        if head is None:
            return self._versions.for_new_session(configuration, agent)
        return self._versions.for_session(configuration, agent, head.package, head.version)


class _AgentWork:
    """What turns with and without a session have in common."""

    def __init__(self, parts: TurnParts, execution: Execution, emit: Emit) -> None:
        assert execution.definition is not None
        self._parts = parts
        self._execution = execution
        self._agent = execution.definition
        self._emit = emit

    def _state(
        self, messages: tuple[ModelMessage, ...], added: int, asked: TurnRequest | StatelessRequest
    ) -> LoopState:
        """Return the loop's state; the last `added` messages are this turn's own."""
        most = self._agent.max_output_tokens
        return LoopState(
            model=self._execution.model,
            messages=list(messages),
            known=len(messages) - added,
            tools=self._specs(),
            max_iterations=self._agent.max_iterations,
            max_output_tokens=min(most, asked.max_output_tokens or most),
            temperature=asked.temperature,
            options=asked.options,
            repeats=self._agent.retries or 0,
        )

    def _specs(self) -> tuple[ToolSpec, ...]:
        package, version = self._execution.package, self._execution.version
        found = (self._parts.tools.get(name, package, version) for name in self._agent.tools)
        return tuple(
            ToolSpec(tool.name, tool.description, tool.parameters) for tool in found if tool
        )

    def _cache(self, *, first: bool) -> CacheScope | None:
        """Return for whom the answer may be repeated; only first questions can be anybody's."""
        if not first or not self._agent.cache_seconds:
            return None
        execution = self._execution
        parts = (
            execution.context.organization,
            execution.agent,
            execution.package,
            execution.version,
            execution.configuration.hash,
        )
        return CacheScope(self._agent.cache_seconds, parts)

    def _fit(self, state: LoopState) -> None:
        """Leave it as it is: what a client brings is the client's to shorten."""

    async def _drive(self, state: LoopState) -> TurnResult:
        execution = self._execution
        await self._parts.tools.prepare(self._agent.tools)
        state.tools = self._specs()
        await self._emit(
            Started(
                execution.session_id,
                execution.agent,
                execution.version,
                state.model,
                execution.context.trace.trace_id,
                tuple(execution.warnings),
                execution.turn.number if execution.turn is not None else None,
            )
        )
        await self._parts.loop.run(execution, state, self._fit, self._emit)
        execution.outcome = state.outcome
        return TurnResult(
            status=state.outcome,
            answer=state.answer,
            usage=execution.usage,
            agent=execution.agent,
            version=execution.version,
            model=state.model,
            trace_id=execution.context.trace.trace_id,
            finish_reason=state.finish_reason,
            session_id=execution.session_id,
            warnings=tuple(execution.warnings),
        )


class _SessionTurn(_AgentWork):
    """A turn that is remembered."""

    def __init__(
        self,
        parts: TurnParts,
        execution: Execution,
        request: TurnRequest,
        head: Head | None,
        emit: Emit,
    ) -> None:
        super().__init__(parts, execution, emit)
        self._request = request
        self._head = head
        self._owner = request.caller.principal.name if head is None else head.principal
        self._pending = ModelMessage("user", request.message)
        self._turn: Turn | None = None
        self._state_of_loop: LoopState | None = None
        self._context_tokens: int | None = None

    def opening(self) -> Opening:
        """Return what is reserved: the history counts as what the last turn sent."""
        told = Conversation(self._agent.instructions, None, (), self._pending).messages()
        state = self._state(told, 1, self._request)
        need = self._parts.calls.planned(self._execution, state.request()).need
        if self._head is not None:
            need = self._with_history(need, self._head.told_tokens)
        return Opening(Wanted(need, seconds=self._execution.seconds()), self._begin())

    async def run(self, turn: Turn | None) -> TurnResult:
        """Tell the model what it needs to know, and bring its loop to an end."""
        assert turn is not None
        self._turn = turn
        conversation = Conversation(
            self._agent.instructions, turn.summary, turn.history, self._pending
        )
        state = self._state_of_loop = self._state(conversation.messages(), 1, self._request)
        state.pinned = conversation.pinned
        state.cache = self._cache(first=turn.number == 1)
        return await self._drive(state)

    def remembered(self) -> Remembered:
        """Return the turn's messages."""
        assert self._state_of_loop is not None
        return Remembered(self._state_of_loop.added, self._context_tokens)

    def stored(self) -> None:
        """Remember the session for its next turn, and have it compacted where that is due."""
        execution, turn, state = self._execution, self._turn, self._state_of_loop
        assert turn is not None
        assert state is not None
        told = 0
        if not execution.purse.asks_nothing:
            told = self._parts.calls.planned(execution, state.request()).need.input_tokens
        self._parts.heads.put(
            turn.session_id,
            Head(self._owner, execution.agent, execution.package, execution.version, told),
        )
        self._parts.compactor.after(execution, turn, state.added)

    def _fit(self, state: LoopState) -> None:
        fitted = self._parts.window.fit(self._execution, state)
        if fitted.removed:
            self._parts.reports.cleaned(self._execution.context, fitted.removed, fitted.tokens)
            state.messages = list(fitted.messages)
            state.known -= fitted.removed
        self._context_tokens = fitted.tokens

    def _with_history(self, need: CallNeed, tokens: int) -> CallNeed:
        """Return the need with the history, of which more than the request may use is left out."""
        left = self._execution.context.allowance.left("tokens")
        if left is not None:
            left -= self._execution.beside.get("tokens", 0)
            tokens = min(tokens, int(left) - need.input_tokens - need.output_tokens)
        return need.reading(need.input_tokens + max(0, tokens))

    def _begin(self) -> BeginTurn:
        execution, request = self._execution, self._request
        session_id = execution.session_id
        assert session_id is not None
        new = None
        if request.session_id is None:
            new = NewSession(
                session_id,
                self._owner,
                execution.agent,
                execution.package,
                execution.version,
                request.metadata,
                request.title,
                request.autonomy_level,
            )
        return BeginTurn(
            session_id=session_id,
            principal=self._owner,
            package=execution.package,
            version=execution.version,
            new=new,
            expected_bytes=len(request.message.encode())
            + self._agent.max_output_tokens * BYTES_PER_TOKEN,
            expires_at=lease_until(),
            tail=tail_of(execution.configuration.source.sessions.compaction),
        )


class _StatelessTurn(_AgentWork):
    """A turn of which nothing is remembered."""

    def __init__(
        self, parts: TurnParts, execution: Execution, request: StatelessRequest, emit: Emit
    ) -> None:
        super().__init__(parts, execution, emit)
        self._request = request

    def opening(self) -> Opening:
        """Return what is reserved."""
        need = self._parts.calls.planned(self._execution, self._first().request()).need
        return Opening(Wanted(need, seconds=self._execution.seconds()))

    async def run(self, _: Turn | None) -> TurnResult:
        """Bring the agent's loop to its end."""
        state = self._first()
        state.cache = self._cache(first=sum(m.role == "user" for m in self._request.messages) == 1)
        return await self._drive(state)

    def remembered(self) -> Remembered:
        """Return nothing."""
        return Remembered()

    def stored(self) -> None:
        """Do nothing."""

    def _first(self) -> LoopState:
        told = self._request.messages
        if self._agent.instructions:
            told = (ModelMessage("system", self._agent.instructions), *told)
        return self._state(told, 0, self._request)
