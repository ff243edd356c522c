"""The port for what metrics were: figures by interval, which the store keeps and does not read."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct


class FigureRow(Struct, frozen=True):
    """What one process counted in the interval of `step` seconds that began at `at`.

    `at` is in seconds of Unix time, `figures` is bytes of whoever keeps them.
    """

    step: int
    at: int
    process: str
    figures: bytes


class FigureLog(Protocol):
    """Keeps figures."""

    async def keep_figures(self, rows: tuple[FigureRow, ...], *, oldest: Mapping[int, int]) -> None:
        """Store or replace rows, and forget those of each step that began before `oldest`."""
        ...

    async def figures(self, step: int, *, since: int, until: int) -> tuple[FigureRow, ...]:
        """Return the rows of a step that began in [since, until), oldest first."""
        ...
