"""Memory over many turns, in sessions that begin and end: what a turn leaves behind.

A process grows until its bounded caches are full and its allocator has spread, which takes some
twenty thousand turns; what grows after that grows for ever.
"""

from functools import partial
from pathlib import Path
from statistics import linear_regression
from tempfile import mkdtemp

from tests.performance.harness.programs import ask
from tests.performance.harness.results import OURS, Bar, plain
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.rows.servers import runtime, stub_provider

_SESSIONS = 20
_SECONDS = 10
_SESSION_TURNS = 5
"""Short enough that the sessions that a process remembers are as many as may be by then."""

_WARM_TURNS = 20_000
_TURNS = 20_000

BARS = (
    Bar("turn-growth", f"memory left by 1,000 turns, over {_TURNS} (its own, KB)", "nothing",
        10.0, "lower", plain("kb_per_1000")),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Let sessions talk to a new process each round, and fit a line through its memory."""
    with stub_provider(directory) as upstream:
        return interleave({OURS: partial(_growth, directory, upstream)}, count)


def _growth(directory: Path, upstream: str) -> Measurement:
    done, turns, memory = 0, list[float](), list[float]()
    with runtime(Path(mkdtemp(dir=directory)), upstream) as server:
        while done < _WARM_TURNS + _TURNS:
            report = ask(
                "load",
                "turns",
                *("-url", f"{server.url}/v1/agents/assistant/execute", "-key", server.key_file),
                *("-connections", str(_SESSIONS), "-duration", f"{_SECONDS}s"),
                *("-length", str(_SESSION_TURNS)),
            )
            done += int(report["done"])
            if done >= _WARM_TURNS:
                turns.append(done / 1000)
                memory.append(server.process.own_kb())
    return {"kb_per_1000": linear_regression(turns, memory).slope, "own_kb": memory[-1]}
