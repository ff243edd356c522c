"""Durable turns: session, agent loop, and every turn on disk before it is answered."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.performance.harness.programs import ask
from tests.performance.harness.results import OURS, Bar, ratio
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.rows.servers import (
    INSTRUCTIONS,
    TURN_MODEL,
    Server,
    reference,
    runtime,
    stub_provider,
)

LITELLM = "litellm"
_AGAINST = "FastAPI + litellm + SQLite (WAL, synchronous FULL), same stub provider"
_SESSIONS = 50
_SECONDS = 5

BARS = (
    Bar("turn-cpu", "CPU per durable turn", _AGAINST, 0.2, "lower", ratio("cpu_ms", LITELLM),
        control="cpu_ms"),
    Bar("turns", "durable turns a second, 50 sessions", _AGAINST, 5.0, "higher",
        ratio("per_second", LITELLM), control="per_second"),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Run both servers on databases of their own and let 50 sessions talk to each in turn."""
    with ExitStack() as stack:
        upstream = stack.enter_context(stub_provider(directory))
        ours = stack.enter_context(runtime(directory / "runtime", upstream))
        theirs = stack.enter_context(
            reference(
                "litellm_turns",
                directory,
                upstream,
                DATABASE=str(directory / "turns.sqlite"),
                MODEL=TURN_MODEL,
                INSTRUCTIONS=INSTRUCTIONS,
            )
        )
        variants = {OURS: partial(_turns, ours), LITELLM: partial(_turns, theirs)}
        for run in variants.values():
            run()  # imports, connections and code paths warm
        return interleave(variants, count, repeated=OURS)


def _turns(server: Server) -> Measurement:
    before = server.process.cpu_seconds()
    report = ask(
        "load",
        "turns",
        *("-url", f"{server.url}/v1/agents/assistant/execute", "-key", server.key_file),
        *("-connections", str(_SESSIONS), "-duration", f"{_SECONDS}s"),
    )
    used = server.process.cpu_seconds() - before
    return {
        "cpu_ms": used * 1000 / report["done"],
        "per_second": report["per_second"],
        "p50_ms": report["whole_p50_ms"],
        "p99_ms": report["whole_p99_ms"],
    }
