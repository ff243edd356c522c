"""The innermost step of every execution: begin in the store, carry out, settle.

Whatever happens to the work, the store is told how it ended, once: a client that leaves or a
deadline that passes ends the work, not its settlement. Work that the store holds something for
renews it, and ends when it was lost.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from bulkhead_runtime import errors
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel import failures, refusals
from bulkhead_runtime.kernel.background import Background
from bulkhead_runtime.kernel.bounds import Wanted, whole_seconds
from bulkhead_runtime.kernel.deferred import DeferredSettlement
from bulkhead_runtime.kernel.derived import Derived
from bulkhead_runtime.kernel.execution import Execution, Outcome
from bulkhead_runtime.kernel.executions import Executions
from bulkhead_runtime.kernel.idempotency import Idempotency
from bulkhead_runtime.kernel.patience import patiently
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.kernel.requests import MAX_ANSWER_BYTES, Repeated
from bulkhead_runtime.kernel.steps import BudgetSteps
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import ModelMessage
from bulkhead_runtime.store.port import BeginTurn, PoolBounds, Turn
from bulkhead_runtime.store.postgres.signals import Signals
from bulkhead_runtime.store.refusals import turn_lost
from bulkhead_runtime.store.spending import Finished, RepeatedAnswer, TurnEnd
from bulkhead_runtime.store.states import SessionStatus

Result = TypeVar("Result")
ResultOut_co = TypeVar("ResultOut_co", covariant=True)

RENEW_SECONDS: Final = 10.0


class Opening(Struct, frozen=True):
    """What work asks of the store before it starts."""

    wanted: Wanted
    turn: BeginTurn | None = None


class Remembered(Struct, frozen=True):
    """What a session keeps of a turn: its messages, and how much the model was told in all."""

    messages: tuple[ModelMessage, ...] = ()
    context_tokens: int | None = None


class Work(Protocol[ResultOut_co]):
    """One piece of work inside the middleware."""

    def opening(self) -> Opening:
        """Return what is to be reserved and locked; raise a `Problem` where it may not run."""
        ...

    async def run(self, turn: Turn | None, /) -> ResultOut_co:
        """Carry the work out and return what the client gets."""
        ...

    def remembered(self) -> Remembered:
        """Return what is to be remembered of a turn that ended well."""
        ...

    def stored(self) -> None:
        """Go on from there: what is remembered is in the store."""
        ...


class Settlement:
    """Runs work between the begin and the finish of its reservation."""

    def __init__(
        self,
        *,
        background: Background,
        deferred: DeferredSettlement,
        executions: Executions,
        steps: BudgetSteps,
        idempotency: Idempotency,
        reports: Reports,
        signals: Signals,
    ) -> None:
        self._signals = signals
        self._bounds = Derived(PoolBounds.configured)
        self._background = background
        self._deferred = deferred
        self._executions = executions
        self._steps = steps
        self._idempotency = idempotency
        self._reports = reports

    async def run(self, execution: Execution, work: Work[Result]) -> Result:
        """Carry out `work`; raise what it raises, once that is settled."""
        turn = await self._begin(execution, work)
        try:
            self._steps.take(execution)
            result = await self._carry_out(execution, work, turn)
        except BaseException as error:
            await self._end_failed(execution, turn, error)
            if isinstance(error, ModelError):
                raise failures.as_problem(error) from error
            raise
        answer = None
        if execution.repeatable is not None:
            answer = bounded(execution.repeatable.answer(result))
        await self._end(execution, _end_of(turn, execution.outcome, work.remembered()), answer)
        work.stored()
        return result

    async def _begin(self, execution: Execution, work: Work[Result]) -> Turn | None:
        """Begin; when the client leaves meanwhile, release what was begun."""
        try:
            opening = work.opening()
            self._steps.slow_down(execution)
        except ModelError as error:
            raise failures.as_problem(error) from error
        turn: Turn | None = None
        if opening.turn is None and execution.claim is None and execution.purse.asks_nothing:
            self._deferred.require_store()
            granted = execution.purse.within_allowance(opening.wanted)
        else:
            turn, granted = await self._ask_to_the_end(execution, opening)
        execution.begun, execution.turn = True, turn
        if opening.turn is not None and opening.turn.new is not None:
            self._reports.session_created(execution)
        if granted.seconds is not None:
            execution.hurry(execution.started + float(granted.seconds))
        return turn

    async def _ask_to_the_end(
        self, execution: Execution, opening: Opening
    ) -> tuple[Turn | None, Wanted]:
        begun = self._background.begin(self._ask(execution, opening))
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            self._background.spawn(self._release(begun, execution))
            raise

    async def _ask(self, execution: Execution, opening: Opening) -> tuple[Turn | None, Wanted]:
        async def ask() -> tuple[Turn | None, Wanted]:
            return await execution.purse.begin(
                opening.wanted,
                self._bounds(execution.configuration.source),
                turn=opening.turn,
                claim=execution.claim,
            )

        try:
            begun = patiently(execution, ask, self._signals)
            return await self._idempotency.claimed(execution, begun)
        except Problem as problem:
            self._reports.refused(execution, problem)
            raise

    async def _release(
        self, begun: asyncio.Task[tuple[Turn | None, Wanted]], execution: Execution
    ) -> None:
        try:
            turn, _ = await begun
        except (Problem, Repeated):
            return  # nothing was begun
        await self._finish(execution, _end_of(turn, "interrupted", Remembered()), None)

    async def _end_failed(
        self, execution: Execution, turn: Turn | None, error: BaseException
    ) -> None:
        """Settle work that failed; what was spent stays spent, under its key too."""
        problem = refusals.of(error, execution)
        execution.outcome = "interrupted" if problem.code == "interrupted" else "error"
        answer = None
        if execution.repeatable is not None and execution.purse.lines:
            refusals.complete(problem, execution)
            answer = bounded(execution.repeatable.failure(problem))
        await self._end(execution, _end_of(turn, execution.outcome, Remembered()), answer)

    async def _end(
        self, execution: Execution, turn: TurnEnd | None, answer: RepeatedAnswer | None
    ) -> None:
        """Settle, whether or not the client still waits for it."""
        if turn is None and execution.claim is None:
            self._settle_later(execution)
            return
        finished = await self._background.complete(self._finish(execution, turn, answer))
        if finished.turn == "pool_full":
            bounds = self._bounds(execution.configuration.source)
            raise errors.pool_full(bounds.name, bounds.max_memory_mb)
        if finished.turn == "lost":
            raise turn_lost()

    def _settle_later(self, execution: Execution) -> None:
        purse = execution.purse
        if purse.held or purse.lines:
            closing = purse.closing(whole_seconds(time.monotonic() - execution.started))
            bounds = self._bounds(execution.configuration.source)
            self._deferred.add(closing, bounds, reserved=purse.held)

    async def _finish(
        self, execution: Execution, turn: TurnEnd | None, answer: RepeatedAnswer | None
    ) -> Finished:
        finished = await execution.purse.finish(
            self._bounds(execution.configuration.source),
            seconds=whole_seconds(time.monotonic() - execution.started),
            turn=turn,
            claim=execution.claim,
            answer=answer,
        )
        self._idempotency.settled(execution, kept=answer is not None)
        return finished

    async def _carry_out(
        self, execution: Execution, work: Work[Result], turn: Turn | None
    ) -> Result:
        """Return what the work returns; raise why it was ended where somebody ended it."""
        renewal = Renewal(execution, self._background) if execution.purse.held else None
        task = asyncio.current_task()
        assert task is not None
        execution.runs_in(task)
        self._executions.entered(execution)
        try:
            return await work.run(turn)
        except asyncio.CancelledError:
            if execution.ended_by is None:
                raise
            task.uncancel()
            raise execution.ended_by from None
        finally:
            execution.runs_in(None)
            self._executions.left(execution)
            if renewal is not None:
                renewal.stop()


class Renewal:
    """Renews what the store holds while the work runs, and ends the work when it was lost."""

    def __init__(self, execution: Execution, background: Background) -> None:
        self._execution = execution
        self._background = background
        self._wait()

    def stop(self) -> None:
        """Renew no longer."""
        self._timer.cancel()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(RENEW_SECONDS, self._begin)

    def _begin(self) -> None:
        self._background.spawn(self._renew())
        self._wait()

    async def _renew(self) -> None:
        purse = self._execution.purse
        if purse.held and not await purse.renew():
            self._execution.end(turn_lost())


_ENDS: Final[Mapping[Outcome, SessionStatus]] = {
    "completed": "completed",
    "completed_with_errors": "completed_with_errors",
    "interrupted": "interrupted",
    "error": "error",
    "refused": "error",
}


def _end_of(turn: Turn | None, outcome: Outcome, remembered: Remembered) -> TurnEnd | None:
    if turn is None:
        return None
    return TurnEnd(turn, _ENDS[outcome], remembered.messages, remembered.context_tokens)


def bounded(answer: RepeatedAnswer) -> RepeatedAnswer:
    """Return what is kept under a key: an answer too large to keep says so instead."""
    if len(answer.body) <= MAX_ANSWER_BYTES:
        return answer
    return refusals.answer_not_kept(answer)
