"""Metrics of executions: how they ended, how long they took, what they used, how they waited.

Agents, packages and versions come from the configuration, outcomes and classes of errors from the
code. A version's and an agent's series leave with it.
"""

from collections.abc import Collection
from typing import Final

from bulkhead_runtime.telemetry.instruments import Instruments, Labels
from bulkhead_runtime.telemetry.labels import OTHER, BoundedNames

DURATION_BOUNDS: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
FIRST_TOKEN_BOUNDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)
WAIT_BOUNDS: Final = (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300)

_AGENTS: Final = 100
_CLASSES: Final = 100
_AGENT: Final = ("agent",)


class ExecutionMetrics:
    """Executions by agent."""

    def __init__(self, instruments: Instruments) -> None:
        self._agents = BoundedNames(_AGENTS)
        self._classes = BoundedNames(_CLASSES)
        self._ended = instruments.counter(
            "bulkhead_executions_total",
            "Executions by agent, package version and outcome.",
            ("agent", "package", "version", "outcome"),
        )
        self._errors = instruments.counter(
            "bulkhead_execution_errors_total",
            "Executions that failed, were refused or interrupted, by the code that is answered.",
            ("agent", "class"),
        )
        self._duration = instruments.histogram(
            "bulkhead_execution_duration_seconds",
            "Time from arrival to end of executions.",
            _AGENT,
            bounds=DURATION_BOUNDS,
            traced=True,
        )
        self._first_token = instruments.histogram(
            "bulkhead_first_token_seconds",
            "Time from arrival to the first text of a model, where there was any.",
            _AGENT,
            bounds=FIRST_TOKEN_BOUNDS,
            traced=True,
        )
        self._turns = instruments.counter(
            "bulkhead_turns_total", "Turns that sessions remember.", _AGENT
        )
        self._tokens = instruments.counter(
            "bulkhead_tokens_total", "Tokens by agent and direction.", ("agent", "direction")
        )
        self._cost = instruments.counter(
            "bulkhead_cost_usd_total", "US dollars spent on models, where a price is known.", _AGENT
        )

    def ended(self, agent: str, package: str, version: str, outcome: str) -> None:
        """Count one execution."""
        self._ended.add((self._agents.label(agent), package, version, outcome))

    def failed(self, agent: str, code: str) -> None:
        """Count one execution that did not end well, by the stable code of why."""
        self._errors.add((self._agents.label(agent), self._classes.label(code)))

    def took(self, agent: str, seconds: float) -> None:
        """Count how long one execution was."""
        self._duration.observe(seconds, (self._agents.label(agent),))

    def spent(self, agent: str, tokens: tuple[int, int], cost: float | None) -> None:
        """Count what models took for an agent; `tokens` are of input and output."""
        agent = self._agents.label(agent)
        if any(tokens):
            self._tokens.add((agent, "input"), tokens[0])
            self._tokens.add((agent, "output"), tokens[1])
        if cost:
            self._cost.add((agent,), cost)

    def first_token(self, agent: str, seconds: float) -> None:
        """Count how long the first text of an execution took."""
        self._first_token.observe(seconds, (self._agents.label(agent),))

    def turn(self, agent: str) -> None:
        """Count one turn that its session remembers."""
        self._turns.add((self._agents.label(agent),))

    def keep(self, versions: Collection[tuple[str, str]], agents: Collection[str]) -> None:
        """Drop the series of all versions but these, and of all agents but these."""
        self._agents.keep(agents)
        kept = {*agents, OTHER}

        def of_agent(labels: Labels) -> bool:
            return labels[0] in kept

        def of_version(labels: Labels) -> bool:
            return of_agent(labels) and (not labels[1] or labels[1:3] in versions)

        self._ended.keep(of_version)
        by_agent = (self._errors, self._duration, self._first_token)
        for instrument in (*by_agent, self._turns, self._tokens, self._cost):
            instrument.keep(of_agent)


class QueueMetrics:
    """The queue for places among executions that run."""

    def __init__(self, instruments: Instruments) -> None:
        self._changes = instruments.changes
        self._wait = instruments.histogram(
            "bulkhead_queue_wait_seconds",
            "Time that executions waited for a place, the most of them not at all.",
            bounds=WAIT_BOUNDS,
        )

    def queued(self) -> None:
        """Say that one waits."""
        self._changes.note()

    def admitted(self, seconds: float) -> None:
        """Count one that has its place now."""
        self._wait.observe(seconds)
