"""A turn with every middleware on, streamed: what a tenant of one runtime meets at its door.

Limits, accounts for session, agent, day and all, an idempotency key per turn, rules for models and
tools, metrics and traces to a collector; the session, the ledger and the answer are on disk before
its end is told. The reference keeps the session on disk and does nothing of the rest.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bulkhead_api.v1alpha1.budgets import Allowance, Budgets, BudgetStep
from bulkhead_api.v1alpha1.policies import ToolPolicy, ToolRule
from bulkhead_api.v1alpha1.telemetry import Telemetry, Tracing
from bulkhead_api.v1alpha1.tools import Tools
from tests.performance.harness.programs import ask
from tests.performance.harness.results import OURS, Bar, added_ratio, plain, ratio
from tests.performance.harness.rounds import Measurement, Round, interleave
from tests.performance.rows.servers import (
    INSTRUCTIONS,
    STREAM_MODEL,
    Server,
    reference,
    runtime,
    stub_provider,
)
from tests.performance.rows.streams import STUB, load_streams

LITELLM = "litellm"
_BEHIND = "FastAPI + litellm + SQLite, same stub provider"
_MUCH = Allowance(tokens=10**12, cost="1000000", tool_calls=10**12, turns=10**12, seconds=10**12)
_AT_ONCE = (1, 10, 100)
_MANY = 1000
# A slow server gets fewer, so that a round stays short; never less than all at once. The reference
# loses its connections to the provider with 1,000 at once on two cores: there ours stands alone.
_TOTAL = {
    OURS: {1: 100, 10: 300, 100: 600, _MANY: 2000},
    STUB: {1: 100, 10: 300, 100: 600},
    LITELLM: {1: 20, 10: 40, 100: 100},
}

BARS = (
    *(
        Bar(f"whole-first-token-{count}", f"time added to the first token p50, {count} at once",
            _BEHIND, 0.25, "lower", added_ratio(f"first_{count}_ms", LITELLM, STUB),
            control=f"first_{count}_ms")
        for count in _AT_ONCE
    ),
    *(
        Bar(f"whole-p99-{count}", f"time added to the first token p99, {count} at once",
            _BEHIND, 0.25, "lower", added_ratio(f"p99_{count}_ms", LITELLM, STUB),
            control=f"first_{count}_ms")
        for count in _AT_ONCE
    ),
    Bar("whole-cpu", "CPU per turn of 100 chunks, 100 at once", _BEHIND, 0.2, "lower",
        ratio("cpu_100_ms", LITELLM), control="cpu_100_ms"),
    Bar("whole-p99-growth", "first token p99 at 1,000 at once", "ours at 100", 12.0, "lower",
        plain("p99_growth"), control="p99_growth"),
)  # fmt: skip


def everything_on(collector: str) -> dict[str, Any]:
    """Return the parts of a configuration that bound, decide and report everything."""
    return {
        "budgets": Budgets(
            session=_MUCH, agent_per_day=_MUCH, day=_MUCH, total=_MUCH,
            steps=(BudgetStep(percent=80, action="Warn"),),
        ),
        "tools": Tools(
            policy=ToolPolicy(
                rules=(
                    ToolRule(name="no-writing", effect="Deny", match=("*_write",)),
                    ToolRule(name="reading", effect="Allow", match=("current_*",)),
                )
            )
        ),
        "telemetry": Telemetry(tracing=Tracing(endpoint=collector)),
    }  # fmt: skip


def measure(directory: Path, count: int) -> list[Round]:
    """Run both side by side and load them in turn."""
    with ExitStack() as stack:
        upstream = stack.enter_context(stub_provider(directory))
        collector = stack.enter_context(reference("collector", directory, upstream))
        ours = stack.enter_context(
            _ours(directory / "runtime", upstream, f"{collector.url}/v1/traces")
        )
        theirs = stack.enter_context(
            reference(
                "litellm_turns",
                directory,
                upstream,
                DATABASE=str(directory / "turns.sqlite"),
                MODEL=STREAM_MODEL,
                INSTRUCTIONS=INSTRUCTIONS,
            )
        )
        variants: dict[str, Callable[[], Measurement]] = {
            STUB: partial(_direct, upstream.removesuffix("/v1")),
            LITELLM: partial(_through, LITELLM, theirs),
            OURS: partial(_through, OURS, ours),
        }
        for server in (ours, theirs):
            _load(server, 10, 20)  # imports, connections and code paths warm
        return interleave(variants, count, repeated=OURS)


@contextmanager
def _ours(directory: Path, upstream: str, collector: str) -> Iterator[Server]:
    with runtime(directory, upstream, model=STREAM_MODEL, **everything_on(collector)) as server:
        yield server


def _direct(url: str) -> Measurement:
    found: dict[str, float] = {}
    for at_once, total in _TOTAL[STUB].items():
        report = load_streams(url, STREAM_MODEL, None, at_once, total)
        found[f"first_{at_once}_ms"] = report["first_p50_ms"]
        found[f"p99_{at_once}_ms"] = report["first_p99_ms"]
    return found


def _through(name: str, server: Server) -> Measurement:
    found: dict[str, float] = {}
    for at_once, total in _TOTAL[name].items():
        before = server.process.cpu_seconds()
        report = _load(server, at_once, total)
        found[f"first_{at_once}_ms"] = report["first_p50_ms"]
        found[f"p99_{at_once}_ms"] = report["first_p99_ms"]
        found[f"cpu_{at_once}_ms"] = (server.process.cpu_seconds() - before) * 1000 / total
    if _MANY in _TOTAL[name]:
        found["p99_growth"] = found[f"p99_{_MANY}_ms"] / found["p99_100_ms"]
    return found


def _load(server: Server, at_once: int, total: int) -> dict[str, Any]:
    return ask(
        "load",
        "answers",
        *("-url", f"{server.url}/v1/agents/assistant/execute/stream", "-key", server.key_file),
        *("-connections", str(at_once), "-total", str(total)),
    )
