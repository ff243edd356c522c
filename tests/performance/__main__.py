"""`python -m tests.performance [ONLY=ID,...] [ROUNDS=N]`: measures, prints a table, writes JSON."""

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.cluster.places import ROOT
from tests.cluster.progress import ClusterError
from tests.performance.harness import report
from tests.performance.harness.results import Result, judge
from tests.performance.harness.rounds import MeasurementError
from tests.performance.suite import FAMILIES, Family

OUTPUT = ROOT / "build" / "bench.json"
_WORK = ROOT / "build" / "bench"
_USAGE = "usage: python -m tests.performance [ONLY=ID,...] [ROUNDS=N]"


@dataclass(frozen=True)
class Asked:
    """What the command line asks for: everything, or a few rows, or other rounds than usual."""

    only: frozenset[str] = frozenset()
    rounds: int | None = None

    def wants(self, row: str) -> bool:
        """Tell whether this row is asked for."""
        return not self.only or row in self.only


def parse(arguments: Sequence[str]) -> Asked:
    """Return what is asked for; exits with the known rows when something is not understood."""
    known = {bar.id for family in FAMILIES for bar in family.bars}
    only: frozenset[str] = frozenset()
    rounds = None
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "ONLY":
            only = frozenset(filter(None, value.split(",")))
        elif name == "ROUNDS" and value.isdecimal() and int(value) > 0:
            rounds = int(value)
        else:
            sys.exit(f"{argument} is not understood.\n{_USAGE}")
    if unknown := only - known:
        sys.exit(f"No such row: {', '.join(sorted(unknown))}.\nRows: {', '.join(sorted(known))}")
    return Asked(only, rounds)


def run(family: Family, asked: Asked) -> list[Result]:
    """Measure one family in a fresh folder and judge the rows that are asked for."""
    directory = _WORK / family.title.lower().replace(" ", "-")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    begin = time.monotonic()
    rounds = family.measure(directory, asked.rounds or family.rounds)
    print(f"{family.title}: {time.monotonic() - begin:.0f} s; medians of {len(rounds)} round(s)")
    print(report.medians(rounds), flush=True)
    return [judge(bar, rounds) for bar in family.bars if asked.wants(bar.id)]


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; 0 when every row could be measured, whatever it yielded."""
    asked = parse(arguments)
    results, failures = [], []
    for family in FAMILIES:
        if not any(asked.wants(bar.id) for bar in family.bars):
            continue
        try:
            results += run(family, asked)
        except (MeasurementError, ClusterError) as error:
            failures.append(f"{family.title} could not be measured: {error}")
            print(failures[-1], flush=True)
        report.write(OUTPUT, results)
    print(f"\n{report.table(results)}")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
