"""Asks the provider of spec.safety.moderation about the input before any model sees it.

A moderation is a call like others: its worst case is reserved together with the work that waits for
it, so it takes no question to the store of its own, and what it took is a line of the ledger.
"""

import time
from decimal import Decimal
from typing import Final, Generic, TypeVar

from msgspec.structs import replace

from bulkhead_api.v1alpha1.safety import Moderation as Settings
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.accounts import price_must_be_known, price_unknown
from bulkhead_runtime.kernel.calls import ledger_line
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.kernel.settlement import Opening, Remembered, Work
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import Moderation, Router, Usage
from bulkhead_runtime.models.prices import MODERATION
from bulkhead_runtime.store.port import Turn
from bulkhead_runtime.telemetry.spans import Tracing

Result = TypeVar("Result")

_MAX_CATEGORIES: Final = 16

_COUNTED: Final = frozenset({"ok", "ended", "timeout", "garbage"})
"""How a moderation ends that its provider may charge; other failures are refusals."""


class InputModeration:
    """Moderates what users wrote, where the spec says so."""

    def __init__(self, router: Router, tracing: Tracing, reports: Reports) -> None:
        self._router = router
        self._tracing = tracing
        self._reports = reports

    def before(self, execution: Execution, work: Work[Result]) -> Work[Result]:
        """Return `work` with the moderation of its input before it."""
        settings = execution.configuration.source.safety.moderation
        if settings is None or not execution.texts:
            return work
        return _Moderated(self, settings, execution, work)

    def need(self, execution: Execution, settings: Settings) -> Usage:
        """Return the most that it takes; raise a 402 `Problem` where its price must be known."""
        need = self._usage(execution, settings)
        budgets = execution.configuration.source.budgets
        if need.cost is None and price_must_be_known(
            budgets, execution.definition, execution.purse.accounts
        ):
            raise price_unknown(_name(settings))
        return need

    async def judge(self, execution: Execution, settings: Settings) -> None:
        """Return when the input may be answered; raise a `Problem` when it may not."""
        try:
            verdict = await self._ask(execution, settings)
        except ModelError as error:
            if settings.on_failure == "Refuse":
                raise _unavailable() from error
            return
        if verdict.flagged:
            categories = verdict.categories[:_MAX_CATEGORIES]
            data = {"categories": list(categories)}
            self._reports.publish("safety.moderated", execution.context, data)
            raise _refused()

    async def _ask(self, execution: Execution, settings: Settings) -> Moderation:
        name, started, outcome = _name(settings), time.monotonic(), "ended"
        counted: int | None = None
        with self._tracing.model(name, settings.provider, {}):
            try:
                verdict = await self._router.moderate(
                    _text(execution),
                    provider=settings.provider,
                    model=settings.model,
                    deadline=execution.deadline,
                )
                counted, outcome = verdict.input_tokens, "ok"
            except ModelError as error:
                outcome = error.kind
                raise
            finally:
                self._reports.model_called(name, outcome, time.monotonic() - started)
                if outcome in _COUNTED:
                    self._count(execution, name, self._usage(execution, settings, counted))
        return verdict

    def _usage(self, execution: Execution, settings: Settings, counted: int | None = None) -> Usage:
        return self._router.moderation_usage(
            _text(execution), provider=settings.provider, model=settings.model, counted=counted
        )

    def _count(self, execution: Execution, name: str, usage: Usage) -> None:
        execution.usage.add(usage)
        execution.purse.spend(ledger_line(execution, "moderation", name, usage))


class _Moderated(Generic[Result]):
    """Work whose input is judged first."""

    def __init__(
        self,
        moderation: InputModeration,
        settings: Settings,
        execution: Execution,
        work: Work[Result],
    ) -> None:
        self._moderation = moderation
        self._settings = settings
        self._execution = execution
        self._work = work

    def opening(self) -> Opening:
        """Return what the work and the moderation of its input need."""
        need = self._moderation.need(self._execution, self._settings)
        self._execution.beside = {
            "tokens": Decimal(need.input_tokens),
            "cost": need.cost or Decimal(0),
        }
        opening = self._work.opening()
        return replace(opening, wanted=replace(opening.wanted, beside=self._execution.beside))

    async def run(self, turn: Turn | None, /) -> Result:
        """Carry the work out, once its input was judged."""
        await self._moderation.judge(self._execution, self._settings)
        return await self._work.run(turn)

    def remembered(self) -> Remembered:
        """Return what is to be remembered of the work."""
        return self._work.remembered()

    def stored(self) -> None:
        """Let the work go on from there."""
        self._work.stored()


def _name(settings: Settings) -> str:
    return f"{settings.provider}/{settings.model or MODERATION}"


def _text(execution: Execution) -> str:
    return "\n\n".join(execution.texts)


def _refused() -> Problem:
    return Problem(
        422,
        "content_refused",
        "The provider's moderation refused the input. Say it differently.",
        field="message",
    )


def _unavailable() -> Problem:
    return Problem(
        503,
        "moderation_unavailable",
        "The input could not be moderated, and spec.safety.moderation.onFailure is Refuse. Try "
        "again later.",
        retry_after=5,
    )
