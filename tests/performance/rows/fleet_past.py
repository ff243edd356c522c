"""A past for rules to look back on: a week of what they record, made up and imported as blocks."""

import random
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.performance.harness.rounds import MeasurementError
from tests.support.servers import binary

_DAY, _HOUR, _MINUTE = 86_400, 3600, 60
_HOURLY = {
    # Answers a second, and the shares of them that failed or came late.
    "organization:bulkhead_answers:rate1h": 0.5,
    "organization:bulkhead_failed_answers:rate1h": 0.001,
    "organization:bulkhead_first_tokens:rate1h": 0.4,
    "organization:bulkhead_late_first_tokens:rate1h": 0.008,
    "organization:bulkhead_cost_usd:increase1h": 2.0,
}
_BY_MINUTE = {
    name.replace("rate1h", "rate5m"): mean for name, mean in _HOURLY.items() if "rate1h" in name
}


def import_past(data: Path, organizations: int) -> None:
    """Write a week of hours and six hours of minutes into a Prometheus' folder."""
    now = int(time.time()) // _HOUR * _HOUR
    for day in range(now - 7 * _DAY, now, _DAY):
        # For every block of two hours the importer reads the whole file again.
        _import(data, _lines(_HOURLY, range(day, day + _DAY, _HOUR), organizations))
    last_hours = range(now - 6 * _HOUR, int(time.time()), _MINUTE)
    _import(data, _lines(_BY_MINUTE, last_hours, organizations))


def _lines(means: dict[str, float], moments: Iterable[int], organizations: int) -> Iterator[str]:
    chance = random.Random(organizations)
    for metric, mean in means.items():
        yield f"# TYPE {metric} gauge\n"
        for number in range(organizations):
            labels = f'{{organization="org-{number:03d}"}}'
            for moment in moments:
                yield f"{metric}{labels} {mean * chance.uniform(0.5, 1.5):.6f} {moment}\n"
    yield "# EOF\n"


def _import(data: Path, lines: Iterator[str]) -> None:
    text = data.with_suffix(".openmetrics")
    with text.open("w") as file:
        file.writelines(lines)
    program = str(binary("promtool", "prometheus", "usr/bin"))
    command = [
        program,
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        "--quiet",
        str(text),
        str(data),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    text.unlink()
    if done.returncode != 0:
        raise MeasurementError(f"the past could not be imported: {done.stdout}{done.stderr}")
