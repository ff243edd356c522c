"""Many streams at once: the memory that an open one holds, and how the first token ages."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

from tests.performance.harness.programs import Background, ask
from tests.performance.harness.results import OURS, Bar, plain, ratio
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.rows.servers import (
    HELD_MODEL,
    OPEN_CHUNKS,
    OPEN_MODEL,
    TURN_CHUNKS,
    TURN_MODEL,
    Server,
    reference,
    runtime,
    stub_provider,
)

SDK = "openai"
_PATH = "/v1/chat/completions"
_WARM = 5
_OPEN = 500
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
        memory = _kb_of_one_stream(server, "stub/")
        model = f"stub/{OPEN_MODEL}"
        few, many = (_first_p99(server, model, streams) for streams in (_FEW, _MANY))
    return {
        "stream_kb": memory,
        "p99_few_ms": few,
        "p99_many_ms": many,
        "p99_growth": many / few,
    }


def _theirs(directory: Path, upstream: str) -> Measurement:
    with reference("openai_gateway", directory, upstream) as server:
        return {"stream_kb": _kb_of_one_stream(server)}


def _first_p99(server: Server, model: str, streams: int) -> float:
    report = ask("load", "streams", *_arguments(server, model, streams, OPEN_CHUNKS))
    return float(report["first_p99_ms"])


def _kb_of_one_stream(server: Server, prefix: str = "") -> float:
    """Return what each of many open streams adds to the memory of a server that is warm.

    Every stream has had its first word and waits for the next, and nothing else happens: how fast
    a server opens them, or how busy the machine is, changes nothing.
    """
    process = server.process
    ask("load", "streams", *_arguments(server, prefix + TURN_MODEL, _WARM, TURN_CHUNKS))
    process.wait_until_idle()
    before = process.uss_mb()
    with Background("load", "streams", *_arguments(server, prefix + HELD_MODEL, _OPEN, 1)):
        process.wait_for("its streams", lambda: process.open_files() >= 2 * _OPEN)
        process.wait_until_idle()
        return (process.uss_mb() - before) * 1024 / _OPEN


def _arguments(server: Server, model: str, streams: int, chunks: int) -> list[str | Path]:
    arguments: list[str | Path] = ["-url", server.url + _PATH, "-key", server.key_file]
    arguments += ["-model", model, "-chunks", str(chunks)]
    return [*arguments, "-connections", str(streams), "-total", str(streams)]
