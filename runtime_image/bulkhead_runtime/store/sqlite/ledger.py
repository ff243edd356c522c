"""The ledger: a line per use, sums over all of them, and sums by day of those that made room."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import takewhile
from typing import Any

from bulkhead_runtime.store import cursors
from bulkhead_runtime.store.records import LedgerPage, UsageGroup, UsageRow
from bulkhead_runtime.store.spending import LedgerLine
from bulkhead_runtime.store.sqlite.rows import cost_text

MAX_LINES = 200_000
LINE_BYTES = 250
"""Lines beyond what is kept live on as sums by day, oldest first; with its index entry each."""

_TRIM_EVERY = 1000
_DAY = 24 * 3600 * 1000

_COLUMNS = (
    "line_id, type, created_at, principal, agent, package, version, model, input_tokens, "
    "output_tokens, cost, session_id, job_id, run_id, tool"
)
_COST = 9
"""Where the cost stands among the columns behind the line's id."""

_GROUPS = ("day", "agent", "model", "principal", "type")
_SUMS = "sum(uses), sum(input_tokens), sum(output_tokens), decimal_sum(cost), sum(uncosted)"
_AS_DAYS = (
    f"SELECT created_at / {_DAY} AS day, agent, model, principal, type, 1 AS uses, "  # noqa: S608 (constant)
    "input_tokens, output_tokens, cost, cost IS NULL AS uncosted FROM ledger"
)


class DecimalSum:
    """SQLite's own sum is a float; this one is exact."""

    def __init__(self) -> None:
        self._total = Decimal(0)

    def step(self, value: str | None) -> None:
        """Add one cost; an unknown one adds nothing."""
        if value is not None:
            self._total += Decimal(value)

    def finalize(self) -> str:
        """Return the sum as decimal text."""
        return format(self._total, "f")


def prepare(connection: sqlite3.Connection) -> None:
    """Teach a connection to add up costs."""
    connection.create_aggregate("decimal_sum", 1, DecimalSum)  # type: ignore[arg-type]  # a None is passed too


def append(connection: sqlite3.Connection, lines: Sequence[LedgerLine]) -> int:
    """Write lines that are not there yet; return how many."""
    if not lines:
        return 0
    written = connection.executemany(
        f"INSERT OR IGNORE INTO ledger ({_COLUMNS}) "  # noqa: S608 (constant)
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        map(_row, lines),
    ).rowcount
    (newest,) = connection.execute("SELECT last_insert_rowid()").fetchone()
    if newest % _TRIM_EVERY < written:
        trim(connection, newest - _kept(connection))
    return written


def page(
    connection: sqlite3.Connection,
    *,
    since: int,
    until: int,
    principal: str | None,
    limit: int,
    cursor: str | None,
) -> LedgerPage:
    """Return lines of [since, until) before the cursor, newest first."""
    before = cursors.NEWEST if cursor is None else cursors.number(cursor)
    mine, owner = ("", ()) if principal is None else (" AND principal = ?", (principal,))
    found = connection.execute(
        f"SELECT id, {_COLUMNS} FROM ledger WHERE id < ? AND created_at >= ? "  # noqa: S608 (constants)
        f"AND created_at < ?{mine} ORDER BY id DESC LIMIT ?",
        (before, since, until, *owner, limit + 1),
    ).fetchall()
    items = tuple(map(_line, found[:limit]))
    return LedgerPage(items, str(found[limit - 1][0]) if len(found) > limit else None)


def usage_by(
    connection: sqlite3.Connection,
    groups: tuple[UsageGroup, ...],
    *,
    since: int,
    until: int,
    principal: str | None,
) -> tuple[UsageRow, ...]:
    """Return sums by group over [since, until), ordered by group."""
    columns = [name for name in groups if name in _GROUPS]
    mine, owner = ("", ()) if principal is None else ("AND principal = ? ", (principal,))
    by = f" GROUP BY {', '.join(columns)} ORDER BY {', '.join(columns)}" if columns else ""
    found = connection.execute(
        f"SELECT {', '.join([*columns, _SUMS])} FROM ("  # noqa: S608 (names of columns)
        f"{_AS_DAYS} WHERE created_at >= ? AND created_at < ? {mine}"
        f"UNION ALL SELECT * FROM usage_days WHERE day * {_DAY} >= ? AND day * {_DAY} < ? {mine}"
        f"){by}",
        (since, until, *owner, since, until, *owner),
    )
    return tuple(_usage_row(columns, row) for row in found if row[len(columns)])


def trim(connection: sqlite3.Connection, newest: int) -> int:
    """Turn the lines up to the id `newest` into sums by day; return how many they were."""
    summed = connection.execute(
        f"SELECT {', '.join(_GROUPS)}, {_SUMS} FROM ("  # noqa: S608 (constants)
        f"{_AS_DAYS} WHERE id <= ? UNION ALL SELECT * FROM usage_days WHERE day IN "
        f"(SELECT DISTINCT created_at / {_DAY} FROM ledger WHERE id <= ?)) "
        f"GROUP BY {', '.join(_GROUPS)}",
        (newest, newest),
    ).fetchall()
    connection.executemany(
        "INSERT OR REPLACE INTO usage_days VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", summed
    )
    return connection.execute("DELETE FROM ledger WHERE id <= ?", (newest,)).rowcount


def trim_older(connection: sqlite3.Connection, *, before: int, limit: int) -> int:
    """Turn up to `limit` of the oldest lines into sums by day where they are older than a time."""
    oldest = connection.execute("SELECT id, created_at FROM ledger ORDER BY id LIMIT ?", (limit,))
    past = [line_id for line_id, _ in takewhile(lambda line: line[1] < before, oldest)]
    return trim(connection, past[-1]) if past else 0


def _kept(connection: sqlite3.Connection) -> int:
    (kept,) = connection.execute("SELECT kept_lines FROM pool").fetchone()
    return int(kept)


def _row(line: LedgerLine) -> tuple[Any, ...]:
    return (
        line.id,
        line.type,
        line.at,
        line.principal,
        line.agent,
        line.package,
        line.version,
        line.model,
        line.input_tokens,
        line.output_tokens,
        cost_text(line.cost),
        line.session_id,
        line.job_id,
        line.run_id,
        line.tool,
    )


def _line(row: tuple[Any, ...]) -> LedgerLine:
    sequence, line_id, *uses = row
    if uses[_COST] is not None:
        uses[_COST] = Decimal(uses[_COST])
    return LedgerLine(line_id or str(sequence), *uses)


def _usage_row(columns: list[UsageGroup], row: tuple[Any, ...]) -> UsageRow:
    group, (uses, input_tokens, output_tokens, cost, uncosted) = (
        row[: len(columns)],
        row[len(columns) :],
    )
    names = tuple(
        _date(value) if column == "day" else value
        for column, value in zip(columns, group, strict=True)
    )
    return UsageRow(names, uses, input_tokens, output_tokens, Decimal(cost), uncosted)


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * _DAY / 1000, UTC).date().isoformat()
