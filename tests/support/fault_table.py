"""Collects what the fault tests tried, for the table that is shown after them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class _Row:
    faults: str
    points: int
    lost: int
    doubled: int


class FaultTable:
    """What was tried, and what became of what had been acknowledged.

    `every` tells whether every fault point is wanted, or one of each class.
    """

    def __init__(self, *, every: bool) -> None:
        self.every = every
        self.rows: list[_Row] = []

    def add(self, faults: str, points: int, *, lost: int = 0, doubled: int = 0) -> None:
        """Tell of one class of faults; fail where anything was lost or doubled."""
        self.rows.append(_Row(faults, points, lost, doubled))
        assert (lost, doubled) == (0, 0), f"{faults}: {lost} lost, {doubled} doubled"

    def text(self) -> str:
        """Return the table as lines."""
        width = max(len(row.faults) for row in self.rows)
        lines = [f"{'':{width}}  points  lost  doubled"]
        lines += [
            f"{row.faults:{width}}  {row.points:6d}  {row.lost:4d}  {row.doubled:7d}"
            for row in self.rows
        ]
        return "\n".join(lines)
