"""Records what metrics were: one small write per interval in which something happened.

While nothing happens the store is not even asked: of five hundred organizations at rest each would
log in to PostgreSQL every ten seconds. A store that is away costs the finest intervals of that
time; the coarser ones catch up with the next write.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.store.figures import FigureLog, FigureRow
from bulkhead_runtime.telemetry.history import RETENTION, Figures, Sampler, combined, encode
from bulkhead_runtime.telemetry.instruments import Reading

log = logging.getLogger(__name__)

STEP: Final = min(RETENTION)


class Recorder:
    """Records one process's metrics under a name of its own, so that nobody writes over them.

    `refresh` asks the store for what `read` shows of it.
    """

    def __init__(
        self,
        figures: FigureLog,
        read: Callable[[], tuple[Reading, ...]],
        refresh: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = figures
        self._read = read
        self._refresh = refresh
        self._clock = clock
        self._process = secrets.token_hex(4)
        self._sampler = Sampler()
        self._open: dict[int, tuple[int, Figures]] = {}
        self._failing = False

    async def run(self) -> None:
        """Record at the end of every interval, until cancelled."""
        while True:
            now = self._clock()
            begun = int(now // STEP) * STEP
            await asyncio.sleep(begun + STEP - now)
            await self.record(begun)

    async def finish(self) -> None:
        """Record the interval that has not ended yet."""
        await self.record(int(self._clock() // STEP) * STEP)

    async def record(self, begun: int) -> None:
        """Record the interval that began at this time, where anything happened in it."""
        if not self._sampler.finds(self._read()):
            return
        await self._refresh()
        figures = self._sampler.sample(self._read())
        if figures is None:
            return
        oldest = {step: int(begun - kept) for step, kept in RETENTION.items()}
        try:
            await self._log.keep_figures(tuple(self._rows(begun, figures)), oldest=oldest)
        except Problem as problem:
            if not self._failing:
                log.warning("Metrics not recorded", extra={"reason": problem.message})
            self._failing = True
        else:
            self._failing = False

    def _rows(self, begun: int, figures: Figures) -> Iterator[FigureRow]:
        """Yield the row of each interval that this one belongs to."""
        for step in RETENTION:
            at = begun // step * step
            known_at, known = self._open.get(step, (at, {}))
            whole = combined(known, figures) if known_at == at else figures
            self._open[step] = (at, whole)
            yield FigureRow(step, at, self._process, encode(whole))
