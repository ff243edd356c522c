"""Many packages in one organization: what each adds to memory, and to the time of a reload."""

import http.client
import json
import subprocess
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import IO

from bulkhead_api.runtime_config import PackageDocument
from tests.performance.harness.processes import Process
from tests.performance.harness.results import OURS, Bar, plain
from tests.performance.harness.rounds import Measurement, MeasurementError, Round
from tests.performance.rows.servers import PYTHON
from tests.support.runtime_process import (
    INTERNAL_TOKEN,
    RunningProcess,
    RuntimeFiles,
    RuntimeProcess,
    agent,
)

_FEW, _MANY = 25, 100
_INSTRUCTIONS = "Answer the questions of the staff from the handbook, in one sentence. " * 58
"""Four thousand characters: what an agent with examples in its instructions has."""

_RELOAD_SECONDS = 30
_LINEAR = 1.25
"""Four times the packages at quadratic cost would be four times as much for each."""

_AGAINST = f"one package before; {len(_INSTRUCTIONS) // 1000} thousand characters each"

BARS = (
    Bar("packages-memory", f"memory per package, {_MANY} of them, KiB (USS)", _AGAINST, 128,
        "lower", plain("kib_each")),
    Bar("packages-reload", f"time per package until {_MANY} new ones are followed, ms", _AGAINST,
        10, "lower", plain("ms_each")),
    Bar("packages-linear-memory", f"memory per package, {_MANY} of them against {_FEW}", "itself",
        _LINEAR, "lower", lambda measured: measured.ratio("kib_each", OURS, "few")),
    Bar("packages-linear-reload", f"reload per package, {_MANY} of them against {_FEW}", "itself",
        _LINEAR, "lower", lambda measured: measured.ratio("ms_each", OURS, "few")),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Let runtimes with one package get a few, or many."""
    return [
        Round({OURS: _added(directory, _MANY), "few": _added(directory, _FEW)})
        for _ in range(count)
    ]


def _added(directory: Path, number: int) -> Measurement:
    files = RuntimeFiles(Path(mkdtemp(dir=directory)))
    files.follow((_package(0), 100))
    with RuntimeProcess(files, start=_start) as runtime:
        assert isinstance(runtime.process, subprocess.Popen)
        process = Process("runtime", runtime.process, runtime.log_path)
        process.wait_until_idle()
        before = process.uss_mb()
        begin = time.monotonic()
        config = files.follow(*((_package(index), 100) for index in range(number + 1)))
        _wait_until_followed(runtime, config.hash, number + 1)
        elapsed = time.monotonic() - begin
        process.wait_until_idle()
        return {
            "kib_each": (process.uss_mb() - before) * 1024 / number,
            "ms_each": elapsed * 1000 / number,
        }


def _package(index: int) -> PackageDocument:
    name = f"package-{index}"
    assistant = agent(f"assistant-{index}", instructions=f"You are number {index}. {_INSTRUCTIONS}")
    return PackageDocument.of(name, "1.0.0", (assistant,))


def _start(module: str, variables: dict[str, str], log: IO[bytes]) -> RunningProcess:
    return subprocess.Popen([PYTHON, "-m", module], env=variables, stderr=log)


def _wait_until_followed(runtime: RuntimeProcess, wanted: str, versions: int) -> None:
    """Ask once, as the operator does: the answer comes when the configuration is followed."""
    connection = http.client.HTTPConnection("127.0.0.1", runtime.internal_port, timeout=60)
    connection.request(
        "GET",
        f"/internal/state?hash={wanted}&waitSeconds={_RELOAD_SECONDS}",
        headers={"Authorization": f"Bearer {INTERNAL_TOKEN}"},
    )
    said = json.loads(connection.getresponse().read())
    connection.close()
    if said.get("configurationHash") != wanted or len(said["versions"]) != versions:
        raise MeasurementError(f"{versions} packages are not followed: {said}")
