"""Stateless streams: what standing between a tenant and the provider costs."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.performance.harness.programs import ask
from tests.performance.harness.results import OURS, Bar, added_ratio, ratio
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.rows.servers import (
    CHUNKS,
    STREAM_MODEL,
    Server,
    reference,
    runtime,
    stub_provider,
)

STUB, LITELLM, SDK = "stub", "litellm", "openai"
_PATH = "/v1/chat/completions"
_CONCURRENT = 100
# One at a time, for the first token and the CPU; enough of them for the clock of /proc.
_SEQUENTIAL = {OURS: 300, STUB: 300, LITELLM: 40, SDK: 60}
# All at once; a slow server gets fewer, so that a round stays short.
_PARALLEL = {OURS: 2000, STUB: 2000, LITELLM: 300, SDK: 300}

_BEHIND = "FastAPI + litellm, same stub provider"
BARS = (
    Bar("stream-cpu", "CPU per stream of 100 chunks", _BEHIND, 0.15, "lower",
        ratio("cpu_ms", LITELLM), control="cpu_ms"),
    Bar("stream-cpu-sdk", "CPU per stream of 100 chunks", "FastAPI + openai SDK", 1.0, "lower",
        ratio("cpu_ms", SDK), control="cpu_ms"),
    Bar("stream-first-token", "time added to the first token", _BEHIND, 0.25, "lower",
        added_ratio("first_ms", LITELLM, STUB), control="first_ms"),
    Bar("stream-first-token-sdk", "time added to the first token", "FastAPI + openai SDK", 1.0,
        "lower", added_ratio("first_ms", SDK, STUB), control="first_ms"),
    Bar("stream-parallel-p50", "first token p50 with 100 streams at once", _BEHIND, 0.15, "lower",
        ratio("parallel_first_ms", LITELLM), control="parallel_first_ms"),
    Bar("stream-throughput", "streams a second, 100 at once", "the stub called directly", 0.5,
        "higher", ratio("streams_per_second", STUB), control="streams_per_second"),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Run all servers side by side and load them in turn."""
    with ExitStack() as stack:
        upstream = stack.enter_context(stub_provider(directory))
        servers = {
            OURS: stack.enter_context(runtime(directory / "runtime", upstream)),
            LITELLM: stack.enter_context(reference("litellm_gateway", directory, upstream)),
            SDK: stack.enter_context(reference("openai_gateway", directory, upstream)),
        }
        variants: dict[str, Callable[[], Measurement]] = {
            STUB: partial(_load, STUB, upstream.removesuffix("/v1"), STREAM_MODEL, None),
        }
        for name, server in servers.items():
            variants[name] = partial(_measure, name, server)
        for run in variants.values():
            run()  # imports, connections and code paths warm
        return interleave(variants, count, repeated=OURS)


def _measure(name: str, server: Server) -> Measurement:
    before = server.process.cpu_seconds()
    sequential = load_streams(server.url, server.model, server.key_file, 1, _SEQUENTIAL[name])
    used = server.process.cpu_seconds() - before
    loaded = _parallel(name, server.url, server.model, server.key_file)
    return {
        "cpu_ms": used * 1000 / _SEQUENTIAL[name],
        "first_ms": sequential["first_p50_ms"],
        **loaded,
    }


def _load(name: str, url: str, model: str, key_file: Path | None) -> Measurement:
    sequential = load_streams(url, model, key_file, 1, _SEQUENTIAL[name])
    return {"first_ms": sequential["first_p50_ms"], **_parallel(name, url, model, key_file)}


def _parallel(name: str, url: str, model: str, key_file: Path | None) -> Measurement:
    report = load_streams(url, model, key_file, _CONCURRENT, _PARALLEL[name])
    return {
        "parallel_first_ms": report["first_p50_ms"],
        "parallel_first_p99_ms": report["first_p99_ms"],
        "streams_per_second": report["per_second"],
    }


def load_streams(
    url: str, model: str, key_file: Path | None, connections: int, total: int
) -> Mapping[str, float]:
    """Stream so many chat completions, so many at once, and return the load's report."""
    arguments: list[str | Path] = ["-url", url + _PATH, "-model", model]
    arguments += ["-connections", str(connections), "-total", str(total)]
    arguments += ["-chunks", str(CHUNKS)]
    if key_file is not None:
        arguments += ["-key", key_file]
    return ask("load", "streams", *arguments)
