"""Shows what was measured: a line per variant while it runs, a table and JSON at the end."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.performance.harness.results import Result
from tests.performance.harness.rounds import Round

_VERDICTS = {True: "met", False: "MISSED", None: "noisy"}
_COLUMNS = ("row", "value", "bar", "verdict", "min", "max", "rounds", "A/A", "against")


def medians(rounds: Sequence[Round]) -> str:
    """Return every variant's middle round, CPU first, for a person who wants the absolutes."""
    lines = []
    for variant in rounds[0].variants:
        metrics = rounds[0].variants[variant]
        ordered = sorted(metrics, key=lambda metric: (not metric.startswith("cpu"), metric))
        shown = ", ".join(f"{metric} {_middle(rounds, variant, metric):.4g}" for metric in ordered)
        lines.append(f"    {variant:<12} {shown}")
    return "\n".join(lines)


def _middle(rounds: Sequence[Round], variant: str, metric: str) -> float:
    values = sorted(measured.get(variant, metric) for measured in rounds)
    return values[len(values) // 2]


def table(results: Iterable[Result]) -> str:
    """Return the table that ends a run."""
    rows = [_COLUMNS, *(_cells(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _cells(result: Result) -> tuple[str, ...]:
    sign = "<=" if result.better == "lower" else ">="
    return (
        result.id,
        f"{result.value:.3g}",
        f"{sign} {result.bar:g}",
        _VERDICTS[result.met],
        f"{result.low:.3g}",
        f"{result.high:.3g}",
        str(result.rounds),
        "-" if result.control is None else f"{result.control:.2f}",
        result.against,
    )


def write(path: Path, results: Iterable[Result]) -> None:
    """Write the results as JSON, over those of the same rows that an earlier run left there."""
    known = {row["id"]: row for row in _earlier(path)}
    known |= {result.id: _as_json(result) for result in results}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(known.values()), indent=2) + "\n")


def _earlier(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(path.read_text()) if path.exists() else []
    return rows


def _as_json(result: Result) -> dict[str, object]:
    return {
        "id": result.id,
        "what": result.what,
        "value": round(result.value, 4),
        "against": result.against,
        "bar": result.bar,
        "better": result.better,
        "met": result.met,
        "min": round(result.low, 4),
        "max": round(result.high, 4),
        "rounds": result.rounds,
        "control": None if result.control is None else round(result.control, 4),
    }
