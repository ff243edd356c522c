"""What watching 500 organizations takes of a Prometheus: series, memory, evaluation of all rules.

One runtime works and is scraped as 500 targets, each with the label of another organization, so
everything that is stored was read from a live runtime. What rules look back on, up to a week, is
made up before and imported.
"""

import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.places import ROOT
from tests.performance.harness.processes import Process, free_port, listens, started
from tests.performance.harness.programs import Background
from tests.performance.harness.results import OURS, Bar, plain
from tests.performance.harness.rounds import Measurement, MeasurementError, Round
from tests.performance.rows.fleet_past import import_past
from tests.performance.rows.servers import Server, runtime, stub_provider
from tests.support.servers import binary

ORGANIZATIONS = 500
_SCRAPES = 12
_EVERY_SECONDS = 15
_SCRAPED = "prometheus_target_interval_length_seconds_count"
_EVALUATIONS_SECONDS = 130.0
"""Every group was evaluated once and the slowest twice."""
_RULES = ROOT / "dashboards" / "alerts" / "bulkhead.rules.yaml"

BARS = (
    Bar("fleet-series", "series of one organization under load, as scraped", "-", 300,
        "lower", plain("series_each"), summary="worst"),
    Bar("fleet-memory", f"resident MiB of a Prometheus that scrapes {ORGANIZATIONS} organizations",
        "-", 2048, "lower", plain("memory_mb"), summary="worst"),
    Bar("fleet-cpu", "percent of one core that scrapes and all rules take of it", "-", 50,
        "lower", plain("cpu_percent"), summary="worst"),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Scrape a working runtime 500 times over with all rules loaded."""
    with stub_provider(directory) as upstream, runtime(directory / "runtime", upstream) as server:
        load = ("-url", f"{server.url}/v1/agents/assistant/execute", "-key", server.key_file)
        with Background("load", "rolling", *load, "-connections", "0", "-rate", "4"):
            return [Round({OURS: _watched(directory / "prometheus", server)}) for _ in range(count)]


def _watched(folder: Path, server: Server) -> Measurement:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    import_past(folder / "data", ORGANIZATIONS)
    configuration = folder / "prometheus.yaml"
    configuration.write_text(yaml.safe_dump(_configuration(server)))
    port = free_port()
    command: list[str | Path] = [
        binary("prometheus", "prometheus", "usr/bin"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]
    with started("prometheus", command, folder) as process:
        process.wait_for("its port", lambda: listens(port))
        return _settled(process, port)


def _configuration(server: Server) -> dict[str, object]:
    targets = [
        {"targets": [f"127.0.0.1:{server.port}"], "labels": {"organization": f"org-{number:03d}"}}
        for number in range(ORGANIZATIONS)
    ]
    return {
        "global": {"scrape_interval": f"{_EVERY_SECONDS}s"},
        "rule_files": [str(_RULES)],
        "scrape_configs": [
            {
                "job_name": "bulkhead-runtimes",
                "authorization": {"credentials_file": str(server.key_file)},
                "static_configs": targets,
            }
        ],
    }


def _settled(process: Process, port: int) -> Measurement:
    """Wait until everything was scraped often and every rule evaluated; then look."""
    began = time.monotonic()
    wanted = _SCRAPES * ORGANIZATIONS
    process.wait_for(
        f"{wanted} scrapes and all rules",
        lambda: (
            time.monotonic() - began > _EVALUATIONS_SECONDS
            and _figures(port).get(_SCRAPED, 0) >= wanted
        ),
        seconds=900,
    )
    seen = _figures(port)
    if failures := seen.get("prometheus_rule_evaluation_failures_total", 0):
        raise MeasurementError(f"{failures:.0f} evaluations of rules failed: {process.log}")
    return {
        "series_each": _each(port),
        "series": seen["prometheus_tsdb_head_series"],
        "memory_mb": seen["process_resident_memory_bytes"] / 2**20,
        "rules_seconds": seen["prometheus_rule_group_last_duration_seconds"],
        "cpu_percent": 100 * process.cpu_seconds() / (time.monotonic() - began),
    }


def _figures(port: int) -> dict[str, float]:
    """Return what the Prometheus says of itself, series of one name added up."""
    found: dict[str, float] = {}
    for sample_name, value in _samples(port, "/metrics"):
        found[sample_name] = found.get(sample_name, 0) + value
    return found


def _each(port: int) -> float:
    """Return how many series the last scrape of one organization had."""
    query = f"http://127.0.0.1:{port}/api/v1/query?query=max(scrape_samples_scraped)"
    with urllib.request.urlopen(query, timeout=30) as answer:
        (found,) = json.load(answer)["data"]["result"]
    return float(found["value"][1])


def _samples(port: int, path: str) -> Iterator[tuple[str, float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        text = answer.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.value
