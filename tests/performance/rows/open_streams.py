"""Many streams at once: the memory that an open one holds, and how the first token ages."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

from tests.performance.harness.programs import Background, ask
from tests.performance.harness.results import OURS, Bar, plain, ratio
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.rows.servers import (
    OPEN_CHUNKS,
    OPEN_MODEL,
    Server,
    reference,
    runtime,
    stub_provider,
)

SDK = "openai"
_PATH = "/v1/chat/completions"
_WARM = 5
_OPEN = 500
_OPENED_SECONDS = 6.0
_LOOKS = 5
_LOOK_SECONDS = 0.2
_FEW, _MANY = 100, 1000

BARS = (
    Bar("stream-memory", f"memory of one open stream of {_OPEN} (USS)", "FastAPI + openai SDK",
        0.5, "lower", ratio("stream_kb", SDK), control="stream_kb"),
    Bar("stream-p99-growth", f"first token p99 at {_MANY} streams at once", f"ours at {_FEW}",
        12.0, "lower", plain("p99_growth"), control="p99_growth"),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Start each server anew for every measurement: memory once grown is seldom given back."""
    with ExitStack() as stack:
        upstream = stack.enter_context(stub_provider(directory))
        variants: dict[str, Callable[[], Measurement]] = {
            OURS: partial(_ours, directory, upstream),
            SDK: partial(_theirs, directory, upstream),
        }
        for run in variants.values():
            run()  # compiles and fills the page cache
        return interleave(variants, count, repeated=OURS)


def _ours(directory: Path, upstream: str) -> Measurement:
    with runtime(Path(mkdtemp(dir=directory)), upstream) as server:
        model = f"stub/{OPEN_MODEL}"
        memory = _kb_of_one_stream(server, model)
        few, many = (_first_p99(server, model, streams) for streams in (_FEW, _MANY))
    return {
        "stream_kb": memory,
        "p99_few_ms": few,
        "p99_many_ms": many,
        "p99_growth": many / few,
    }


def _theirs(directory: Path, upstream: str) -> Measurement:
    with reference("openai_gateway", directory, upstream) as server:
        return {"stream_kb": _kb_of_one_stream(server, OPEN_MODEL)}


def _first_p99(server: Server, model: str, streams: int) -> float:
    report = ask("load", "streams", *_arguments(server, model, streams))
    return float(report["first_p99_ms"])


def _kb_of_one_stream(server: Server, model: str) -> float:
    """Return what each of many open streams adds to the memory of a server that is warm."""
    ask("load", "streams", *_arguments(server, model, _WARM))
    server.process.wait_until_idle()
    before = server.process.uss_mb()
    with Background("load", "streams", *_arguments(server, model, _OPEN)):
        time.sleep(_OPENED_SECONDS)
        # The most of several looks: a pause of the collector must not make a server look small.
        most = 0.0
        for _ in range(_LOOKS):
            most = max(most, server.process.uss_mb())
            time.sleep(_LOOK_SECONDS)
    return (most - before) * 1024 / _OPEN


def _arguments(server: Server, model: str, streams: int) -> list[str | Path]:
    arguments: list[str | Path] = ["-url", server.url + _PATH, "-key", server.key_file]
    arguments += ["-model", model, "-chunks", str(OPEN_CHUNKS)]
    return [*arguments, "-connections", str(streams), "-total", str(streams)]
