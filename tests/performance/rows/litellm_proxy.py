"""The same streams through LiteLLM's proxy, started as its own image starts it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.cluster import places
from tests.cluster.commands import run_logged
from tests.performance.harness.processes import free_port, started
from tests.performance.harness.results import OURS, Bar, added_ratio, ratio
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.rows.servers import (
    PYTHON,
    STREAM_MODEL,
    Server,
    runtime,
    stub_provider,
)
from tests.performance.rows.streams import STUB, load_streams

PROXY = "litellm proxy"
_PATH = "/v1/chat/completions"
_CONCURRENT = 100
_SEQUENTIAL = {OURS: 300, STUB: 300, PROXY: 60}
_PARALLEL = {OURS: 2000, PROXY: 300}
_BEHIND = "LiteLLM proxy, same stub provider"
_START_SECONDS = 180.0

BARS = (
    Bar("proxy-first-token", "time added to the first token", _BEHIND, 1.0, "lower",
        added_ratio("first_ms", PROXY, STUB), control="first_ms"),
    Bar("proxy-cpu", "CPU per stream of 100 chunks", _BEHIND, 1.0, "lower",
        ratio("cpu_ms", PROXY), control="cpu_ms"),
    Bar("proxy-throughput", "streams a second for each core that is used", _BEHIND, 1.0,
        "higher", ratio("per_core", PROXY), control="per_core"),
    Bar("proxy-memory", "memory after the load (USS)", _BEHIND, 1.0, "lower",
        ratio("uss_mb", PROXY), control="uss_mb"),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Run both side by side and load them in turn."""
    with ExitStack() as stack:
        upstream = stack.enter_context(stub_provider(directory))
        servers = {
            OURS: stack.enter_context(runtime(directory / "runtime", upstream)),
            PROXY: stack.enter_context(_proxy(directory, upstream)),
        }
        variants: dict[str, Callable[[], Measurement]] = {
            STUB: partial(_direct, upstream.removesuffix("/v1")),
        }
        for name, server in servers.items():
            variants[name] = partial(_through, name, server)
        for run in variants.values():
            run()  # imports, connections and code paths warm
        return interleave(variants, count, repeated=OURS)


def _direct(url: str) -> Measurement:
    report = load_streams(url, STREAM_MODEL, None, 1, _SEQUENTIAL[STUB])
    return {"first_ms": report["first_p50_ms"]}


def _through(name: str, server: Server) -> Measurement:
    begin = server.process.cpu_seconds()
    one = load_streams(server.url, server.model, server.key_file, 1, _SEQUENTIAL[name])
    middle = server.process.cpu_seconds()
    load_streams(server.url, server.model, server.key_file, _CONCURRENT, _PARALLEL[name])
    return {
        "first_ms": one["first_p50_ms"],
        "cpu_ms": (middle - begin) * 1000 / _SEQUENTIAL[name],
        "per_core": _PARALLEL[name] / (server.process.cpu_seconds() - middle),
        "uss_mb": server.process.uss_mb(),
    }


@contextmanager
def _proxy(directory: Path, upstream: str) -> Iterator[Server]:
    port, key = free_port(), "sk-bench"
    key_file, config = directory / "proxy.key", directory / "proxy.json"
    key_file.write_text(key)
    everything = {"model": "openai/*", "api_base": upstream, "api_key": "stub"}
    # JSON is YAML.
    config.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": "*", "litellm_params": everything}],
                "general_settings": {"master_key": key},
            }
        )
    )
    argv: list[str | Path] = [_installed() / "bin" / "litellm", "--config", config]
    argv += ["--host", "127.0.0.1", "--port", str(port)]
    # What its documentation asks for in production, and no price table from the network.
    environment = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    with started("litellm-proxy", argv, directory, environment=environment) as process:
        server = Server(process, port, key_file, STREAM_MODEL)
        process.wait_for("its port", server.listens, seconds=_START_SECONDS)
        yield server


def _installed() -> Path:
    """Return an environment with the proxy in the version that the runtime locks.

    It is made once; the proxy's dependencies are no part of the product and are not locked.
    """
    ask = "import importlib.metadata as m; print(m.version('litellm'))"
    version = subprocess.run([PYTHON, "-c", ask], capture_output=True, text=True, check=True)
    wanted = f"litellm[proxy]=={version.stdout.strip()}"
    folder = places.cache() / "bench" / wanted
    if not (folder / "complete").exists():
        log = places.cache() / "logs" / "litellm-proxy.log"
        run_logged([sys.executable, "-m", "venv", "--clear", folder], log)
        run_logged([folder / "bin" / "pip", "install", "--quiet", wanted], log)
        (folder / "complete").touch()
    return folder
