"""What an operator holds and spends while a cluster grows from 10 to 1,000 organizations.

Each program grows once and no control runs beside them: a thousand organizations with pods take
minutes on two cores, memory hardly depends on how busy the machine is, and the other figure
compares a program with itself.
"""

import time
from collections.abc import Iterator
from functools import partial
from itertools import count as numbers
from itertools import pairwise
from pathlib import Path

from tests.performance.harness.processes import Process
from tests.performance.harness.results import OURS, Bar, plain, ratio
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.rows.control_plane import operator, peer
from tests.performance.rows.reconcile import GO, Start, drive, example
from tests.performance.rows.simulated_nodes import simulated_cluster

_SIZES = (10, 100, 400, 1000)
# As many as an API server on two cores works on without a backlog, whatever its speed today.
_UNFINISHED = ("-unfinished", "20")
# Polling for usage goes on for ever; here it would be counted for whoever comes last.
_SELDOM = "3600"
_LOOKS = 10

BARS = (
    Bar("operator-memory", "operator's memory at 1,000 organizations (USS)",
        "controller-runtime (Go): same children, simulated nodes", 1.6, "lower",
        ratio("uss_mb", GO)),
    Bar("operator-cpu-growth", "CPU per organization: the dearest stretch by the cheapest",
        "itself, from 10 to 100, 400 and 1,000 organizations", 1.15, "lower",
        plain("cpu_growth")),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Grow both, each on a control plane of its own."""
    template = example(directory / "example")
    runs = numbers()
    quiet = partial(operator, usage_seconds=_SELDOM, resync_seconds=_SELDOM)
    starts: dict[str, Start] = {OURS: quiet, GO: partial(peer, template=template)}
    variants = {
        name: partial(_grow, directory, runs, start, template) for name, start in starts.items()
    }
    return interleave(variants, count)


def _grow(directory: Path, runs: Iterator[int], start: Start, template: Path) -> Measurement:
    with (
        simulated_cluster(directory / f"run-{next(runs)}") as made,
        start(made) as controller,
    ):
        process = controller.process
        drive(made, template, "org", _SIZES[0], 0, "-ready", *_UNFINISHED)
        costs = {}
        for reached, size in pairwise(_SIZES):
            before = process.cpu_seconds()
            first = ("-first", str(reached))
            drive(made, template, "org", size - reached, 0, "-ready", *_UNFINISHED, *first)
            costs[size] = (process.cpu_seconds() - before) * 1000 / (size - reached)
        return {
            **{f"cpu_ms_to_{size}": cost for size, cost in costs.items()},
            "cpu_growth": max(costs.values()) / min(costs.values()),
            "uss_mb": _settled_uss(process),
        }


def _settled_uss(process: Process) -> float:
    """Return the least that is held within a few seconds: what a burst needed goes back late."""
    looks = []
    for _ in range(_LOOKS):
        looks.append(process.uss_mb())
        time.sleep(1)
    return min(looks)
