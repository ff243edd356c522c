"""What metrics were, by interval."""

import sqlite3
from collections.abc import Iterable, Mapping

from bulkhead_runtime.store.figures import FigureRow


def keep(
    connection: sqlite3.Connection, rows: Iterable[FigureRow], oldest: Mapping[int, int]
) -> None:
    """Store or replace rows, and forget those of each step that began before `oldest`."""
    connection.executemany(
        "INSERT OR REPLACE INTO figures (step, at, process, figures) VALUES (?, ?, ?, ?)",
        ((row.step, row.at, row.process, row.figures) for row in rows),
    )
    connection.executemany("DELETE FROM figures WHERE step = ? AND at < ?", oldest.items())


def between(
    connection: sqlite3.Connection, step: int, since: int, until: int
) -> tuple[FigureRow, ...]:
    """Return the rows of a step that began in [since, until), oldest first."""
    found = connection.execute(
        "SELECT step, at, process, figures FROM figures "
        "WHERE step = ? AND at >= ? AND at < ? ORDER BY at, process",
        (step, since, until),
    )
    return tuple(FigureRow(*row) for row in found)
