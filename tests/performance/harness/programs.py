"""The Go programs of the benchmarks, compiled once per version of their source."""

import hashlib
import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.cluster import golang, places
from tests.cluster.commands import run_logged
from tests.performance.harness.rounds import MeasurementError

SOURCE = Path(__file__).resolve().parents[1] / "controller"


def program(name: str) -> Path:
    """Return one of `controller`, `drive` and `load`, compiling it when its source changed."""
    target = places.cache() / "bin" / "performance" / _digest() / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        run_logged(
            [golang.command(), "build", "-ldflags", "-s -w", "-o", target, f"./cmd/{name}"],
            places.cache() / "logs" / f"build-{name}.log",
            env=golang.environment(),
            cwd=SOURCE,
            remedy="see that the Go module proxy is reachable, then run `make bench` again.",
        )
    return target


def _digest() -> str:
    sources = sorted(path for path in SOURCE.rglob("*") if path.suffix in {".go", ".mod", ".sum"})
    content = b"".join(path.read_bytes() for path in sources)
    return hashlib.sha256(content).hexdigest()[:16]


def ask(name: str, *arguments: str | Path, seconds: float = 600) -> dict[str, Any]:
    """Run a program to its end and return its report; raise MeasurementError when it fails."""
    command = [str(program(name)), *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        raise MeasurementError(f"{name} {arguments[0]}: {done.stderr.strip()}")
    report: dict[str, Any] = json.loads(done.stdout)
    if report.get("failed"):
        raise MeasurementError(
            f"{name} {arguments[0]}: {report['failed']} failed: {'; '.join(report['examples'])}"
        )
    return report


class Background:
    """A program that measures until it is told to stop."""

    def __init__(self, name: str, *arguments: str | Path) -> None:
        command = [str(program(name)), *(str(argument) for argument in arguments)]
        self._popen = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()

    def finish(self) -> dict[str, Any]:
        """Let it end what it began and return its report."""
        self._popen.terminate()
        output, errors = self._popen.communicate(timeout=120)
        if self._popen.returncode != 0:
            raise MeasurementError(f"the load ended with {self._popen.returncode}: {errors}")
        report: dict[str, Any] = json.loads(output)
        return report
