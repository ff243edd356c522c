"""Which rows there are, and the order in which they run: the short ones first."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.performance.harness.results import Bar
from tests.performance.harness.rounds import Round
from tests.performance.rows import runtime_start, streams, turns


@dataclass(frozen=True)
class Family:
    """Rows that follow from the same rounds."""

    title: str
    bars: tuple[Bar, ...]
    measure: Callable[[Path, int], list[Round]]
    rounds: int = 5


FAMILIES = (
    Family("Runtime start", runtime_start.BARS, runtime_start.measure),
    Family("Stateless streams", streams.BARS, streams.measure),
    Family("Durable turns", turns.BARS, turns.measure),
)
