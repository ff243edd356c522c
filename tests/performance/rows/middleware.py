"""What every request passes before and after its work: keys, limits, budget, policy, telemetry.

A tool that does next to nothing is run, over a store that answers at once, so that what is left is
the runtime's own way of a request.
"""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.cluster.places import ROOT
from tests.performance.harness.posts import post
from tests.performance.harness.processes import started
from tests.performance.harness.results import OURS, Bar, ratio
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.rows.servers import PYTHON, Server, prepare_runtime, reference

RAW, FASTAPI = "raw", "fastapi"
_REQUESTS = 2000
_CONNECTIONS = 8
_BODY = b'{"tool":"current_time","arguments":{}}'

BARS = (
    Bar("middleware-asgi", "CPU of all middleware per request, no store I/O",
        "raw ASGI on the same server", 4.0, "lower", ratio("cpu_us", RAW), control="cpu_us"),
    Bar("middleware-fastapi", "CPU of all middleware per request, no store I/O",
        "FastAPI with three http middlewares", 0.3, "lower", ratio("cpu_us", FASTAPI),
        control="cpu_us"),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Run all three side by side and ask them in turn."""
    with ExitStack() as stack:
        argv, environment, server_of = prepare_runtime(directory / "runtime", None)
        environment["PYTHONPATH"] += f":{ROOT}"
        argv = [PYTHON, "-m", "tests.performance.references.instant_store"]
        process = stack.enter_context(
            started("instant-store", argv, directory, environment=environment)
        )
        ours = server_of(process)
        process.wait_for("its port", ours.listens)
        servers = {
            OURS: ours,
            RAW: stack.enter_context(reference("raw_asgi", directory, "")),
            FASTAPI: stack.enter_context(reference("fastapi_middlewares", directory, "")),
        }
        variants = {name: partial(_ask, server) for name, server in servers.items()}
        for run in variants.values():
            run()  # imports and code paths warm
        return interleave(variants, count, repeated=OURS)


def _ask(server: Server) -> Measurement:
    before = server.process.cpu_seconds()
    post(
        server.port,
        "/v1/tools/run",
        _BODY,
        key_file=server.key_file,
        count=_REQUESTS,
        connections=_CONNECTIONS,
    )
    return {"cpu_us": (server.process.cpu_seconds() - before) * 1_000_000 / _REQUESTS}
