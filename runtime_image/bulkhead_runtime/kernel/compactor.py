"""Writes summaries of older turns after the turn, so that no answer waits for one."""

import logging
import time
from typing import Final, Literal

from bulkhead_api.v1alpha1.sessions import Compaction
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel import compaction
from bulkhead_runtime.kernel.background import Background
from bulkhead_runtime.kernel.bounds import Wanted, whole_seconds
from bulkhead_runtime.kernel.calls import ModelCalls
from bulkhead_runtime.kernel.compaction import Older
from bulkhead_runtime.kernel.execution import Execution
from bulkhead_runtime.kernel.executions import Executions
from bulkhead_runtime.kernel.reports import Reports
from bulkhead_runtime.kernel.settlement import Renewal
from bulkhead_runtime.kernel.window import ContextWindow
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import ModelMessage, ModelRequest, Part, TextDelta
from bulkhead_runtime.store.port import PoolBounds, SessionStore, Summary, Turn

log = logging.getLogger(__name__)

SECONDS: Final = 60.0
"""How long a summary may take; without one by then it is made without a model."""


class Compactor:
    """Compacts sessions in the background, one summary per session at a time."""

    def __init__(
        self,
        store: SessionStore,
        calls: ModelCalls,
        window: ContextWindow,
        *,
        executions: Executions,
        background: Background,
        reports: Reports,
    ) -> None:
        self._store = store
        self._calls = calls
        self._window = window
        self._executions = executions
        self._background = background
        self._reports = reports
        self._at_work: set[str] = set()

    def after(self, execution: Execution, turn: Turn, added: tuple[ModelMessage, ...]) -> None:
        """Compact a session whose turn was stored, where it has become long enough."""
        settings = execution.configuration.source.sessions.compaction
        if not settings.enabled or turn.session_id in self._at_work:
            return
        messages = (*turn.history, *added)
        older = compaction.older_turns(messages, turn.first_sequence, settings)
        if older is None:
            return
        self._at_work.add(turn.session_id)
        self._background.spawn(self._compact(execution, turn, older, settings))

    async def _compact(
        self, turn_execution: Execution, turn: Turn, older: Older, settings: Compaction
    ) -> None:
        execution = self._executions.following(turn_execution, SECONDS)
        if settings.model is not None:
            execution.model = settings.model
        renewal = Renewal(execution, self._background)
        try:
            session = await self._store.session(turn.session_id, None, _bounds(execution))
            if session.summary_until > turn.summary_until:
                return  # written while the turn ran, which began without it
            text, by = await self._summary(execution, turn, older, settings)
            await execution.purse.finish(
                _bounds(execution),
                seconds=whole_seconds(time.monotonic() - execution.started),
                summary=Summary(turn.session_id, text, older.until),
            )
            self._reports.compacted(execution.context, older.turns, by)
        finally:
            renewal.stop()
            self._reports.summarized(execution)
            self._at_work.discard(turn.session_id)

    async def _summary(
        self, execution: Execution, turn: Turn, older: Older, settings: Compaction
    ) -> tuple[str, Literal["model", "fallback"]]:
        characters = settings.summary_characters
        try:
            written = await self._ask(execution, turn, older, characters)
        except (ModelError, Problem) as error:
            log.info("Summary made without a model", extra={"reason": type(error).__name__})
            written = None
        if written is not None:
            return written, "model"
        return compaction.fallback(turn.summary, older, characters), "fallback"

    async def _ask(
        self, execution: Execution, turn: Turn, older: Older, characters: int
    ) -> str | None:
        texts: list[str] = []

        async def take(part: Part) -> None:
            if isinstance(part, TextDelta):
                texts.append(part.text)

        output = max(1, characters // compaction.CHARACTERS_PER_TOKEN)
        room = self._window.room(execution.model, output)
        messages = compaction.prompt(turn.summary, older, characters, room)
        if messages is None:
            return None
        request = ModelRequest(
            model=execution.model,
            messages=messages,
            max_output_tokens=output,
            deadline=execution.deadline,
        )
        planned = self._calls.planned(execution, request)
        await execution.purse.begin(Wanted(planned.need), _bounds(execution), turn=None, claim=None)
        await self._calls.stream(execution, request, take, planned=planned, kind="compaction")
        return compaction.bounded("".join(texts), characters)


def _bounds(execution: Execution) -> PoolBounds:
    return PoolBounds.configured(execution.configuration.source)
