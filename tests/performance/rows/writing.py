"""What writing events and the ledger takes from durable turns."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.performance.harness.programs import ask
from tests.performance.harness.results import OURS, Bar, ratio
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.rows.servers import Server, runtime, stub_provider

OFF = "unwritten"
_AGAINST = "the same without both logs"
_SESSIONS = 50
_SECONDS = 5

BARS = (
    Bar("writing-cpu", "CPU per durable turn, events and ledger written", _AGAINST, 1.1, "lower",
        ratio("cpu_ms", OFF), control="cpu_ms"),
    Bar("writing", "durable turns a second, events and ledger written", _AGAINST, 0.9, "higher",
        ratio("per_second", OFF), control="per_second"),
)  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Run the runtime over both stores and let 50 sessions talk to each in turn."""
    with ExitStack() as stack:
        upstream = stack.enter_context(stub_provider(directory))
        variants = {}
        for name, module in ((OURS, "written"), (OFF, "unwritten")):
            entry = f"tests.performance.references.{module}"
            server = stack.enter_context(runtime(directory / module, upstream, entry=entry))
            variants[name] = partial(_turns, server)
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
    return {"cpu_ms": used * 1000 / report["done"], "per_second": report["per_second"]}
