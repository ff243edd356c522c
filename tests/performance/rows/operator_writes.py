"""The operator's writes, counted by the API server's audit log: what scale is paid in."""

import json
import time
import urllib.request
from pathlib import Path

from tests.performance.harness.results import OURS, Bar, plain
from tests.performance.harness.rounds import MeasurementError, Round
from tests.performance.rows.audit import Requests
from tests.performance.rows.control_plane import Cluster, Controller, operator
from tests.performance.rows.reconcile import drive, example
from tests.performance.rows.simulated_nodes import simulated_cluster

_ORGANIZATIONS = 20
_RATE = 2
_RESYNC_SECONDS, _USAGE_SECONDS = 10, 5
_SETTLE_SECONDS, _QUIET_SECONDS = 60, 3
_WATCHED_SECONDS = 3 * _RESYNC_SECONDS

BARS = (
    Bar("writes-new", "writes per new organization beyond one per child",
        "its children (Events and Leases apart)", 3, "lower", plain("beyond_children")),
    Bar("writes-resync", "writes while every organization is resynced", "none", 0, "lower",
        plain("resync"), summary="worst"),
    Bar("writes-restart", "writes when the operator restarts", "none", 0, "lower",
        plain("restart"), summary="worst"),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Count on one control plane: organizations are made, left alone, and found again."""
    template = example(directory / "example")
    children = len(json.loads(template.read_text()))
    rounds = []
    for number in range(count):
        with simulated_cluster(directory / f"run-{number}") as made:
            rounds.append(Round({OURS: _count(made, template, children)}))
    return rounds


def _count(made: Cluster, template: Path, children: int) -> dict[str, float]:
    settings = {"resync_seconds": str(_RESYNC_SECONDS), "usage_seconds": str(_USAGE_SECONDS)}
    log = made.plane.audit_log
    with operator(made, **settings) as controller:
        drive(made, template, "warm", 1, 0, "-ready")
        _settle(log)
        new = Requests(log)
        drive(made, template, "org", _ORGANIZATIONS, _RATE, "-ready")
        _settle(log)
        beyond = len(new.writes()) / _ORGANIZATIONS - children
        refused = new.refused() / _ORGANIZATIONS
        resync = Requests(log)
        _watch_resync(controller, resync)
    restart = Requests(log)
    with operator(made, **settings) as controller:
        _watch_resync(controller, restart)
    _explain("resync", resync)
    _explain("restart", restart)
    return {
        "beyond_children": beyond,
        "refused": refused,
        "resync": len(resync.writes()),
        "restart": len(restart.writes()),
    }


def _settle(log: Path) -> None:
    """Wait until nothing more is written: the last statuses come after the last Ready."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    writes = ["unknown"]
    while writes:
        if time.monotonic() > deadline:
            raise MeasurementError(f"still written after {_SETTLE_SECONDS} s: {writes[-1]}")
        lately = Requests(log)
        time.sleep(_QUIET_SECONDS)
        writes = lately.writes()


def _watch_resync(controller: Controller, requests: Requests) -> None:
    """Let several resyncs pass; what nobody did cannot have cost a write."""
    before = _reconciles(controller)
    time.sleep(_WATCHED_SECONDS)
    done = _reconciles(controller) - before
    if done < _ORGANIZATIONS or requests.reads("secrets") < _ORGANIZATIONS:
        raise MeasurementError(
            f"{done:g} reconciles and {requests.reads('secrets')} reads of Secrets in "
            f"{_WATCHED_SECONDS} s are no resync of {_ORGANIZATIONS} organizations:\n"
            f"{controller.process.last_words()}"
        )


def _reconciles(controller: Controller) -> float:
    address = f"http://127.0.0.1:{controller.metrics_port}/metrics"
    with urllib.request.urlopen(address, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    name = "controller_runtime_reconcile_total{"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def _explain(what: str, requests: Requests) -> None:
    for write in requests.writes()[:5]:
        print(f"    {what}: {write}")
