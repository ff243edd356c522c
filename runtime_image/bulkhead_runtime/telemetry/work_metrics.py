"""Metrics of what executions use and are refused: tools, models, budgets, context, events.

Every label is a word of the code or a name of the configuration, or goes through `BoundedNames`.
Names of GenAI instruments keep OpenTelemetry's stems, so that scraped and pushed figures agree.
"""

from decimal import Decimal
from functools import cache
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bulkhead_runtime.telemetry.labels import BoundedNames

CALL_BUCKETS: Final = (0.01, 0.04, 0.16, 0.64, 2.56, 10.24, 40.96)
FIRST_PART_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_TOOLS: Final = 64
_MODELS: Final = 64
_RULES: Final = 64


class ToolMetrics:
    """Calls of tools."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tools = BoundedNames(_TOOLS)
        self._rules = BoundedNames(_RULES)
        self._calls = cache(
            Counter(
                "bulkhead_tool_calls",
                "Tool calls by outcome.",
                ("tool", "outcome"),
                registry=registry,
            ).labels
        )
        self._denials = Counter(
            "bulkhead_tool_denials",
            "Tool calls that policy denied, by the rule that did.",
            ("tool", "rule"),
            registry=registry,
        )
        self._duration = cache(
            Histogram(
                "gen_ai_execute_tool_duration_seconds",
                "Time that tool calls took.",
                ("tool",),
                buckets=CALL_BUCKETS,
                registry=registry,
            ).labels
        )

    def called(self, tool: str, outcome: str, seconds: float) -> None:
        """Count one call that ran; `outcome` is ok or the envelope's code."""
        label = self._tools.label(tool)
        self._calls(label, outcome).inc()
        self._duration(label).observe(seconds)

    def denied(self, tool: str, rule: str) -> None:
        """Count one call that policy did not let through."""
        label = self._tools.label(tool)
        self._calls(label, "denied").inc()
        self._denials.labels(label, self._rules.label(rule)).inc()


class ModelMetrics:
    """Calls of models and what stands in for those that fail."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._models = BoundedNames(_MODELS)
        self._calls = cache(
            Counter(
                "bulkhead_model_calls",
                "Model calls by outcome, ok or a class of error.",
                ("provider", "model", "outcome"),
                registry=registry,
            ).labels
        )
        self._duration = cache(
            Histogram(
                "gen_ai_client_operation_duration_seconds",
                "Time from call to end of the answer.",
                ("provider",),
                buckets=CALL_BUCKETS,
                registry=registry,
            ).labels
        )
        self._first_part = cache(
            Histogram(
                "gen_ai_client_operation_time_to_first_chunk_seconds",
                "Time from call to the first part of the answer.",
                ("provider",),
                buckets=FIRST_PART_BUCKETS,
                registry=registry,
            ).labels
        )
        self._fallbacks = Counter(
            "bulkhead_model_fallbacks",
            "Calls that another model answered, by provider.",
            ("provider", "instead"),
            registry=registry,
        )
        self._circuit = Gauge(
            "bulkhead_model_circuit_open",
            "1 while a provider is left alone after failures.",
            ("provider",),
            registry=registry,
        )
        self._cache = Counter(
            "bulkhead_model_cache_lookups",
            "Lookups in the response cache.",
            ("result",),
            registry=registry,
        )

    def called(self, provider: str, model: str, outcome: str, seconds: float) -> None:
        """Count one call; `outcome` is ok or the kind of the model's error."""
        self._calls(provider, self._models.label(model), outcome).inc()
        self._duration(provider).observe(seconds)

    def first_part(self, provider: str, seconds: float) -> None:
        """Count how long the first part took."""
        self._first_part(provider).observe(seconds)

    def fell_back(self, provider: str, instead: str) -> None:
        """Count one answer of another provider's model."""
        self._fallbacks.labels(provider, instead).inc()

    def circuit(self, provider: str, *, is_open: bool) -> None:
        """Show whether a provider is left alone."""
        self._circuit.labels(provider).set(1 if is_open else 0)

    def cache(self, result: Literal["hit", "miss"]) -> None:
        """Count one lookup."""
        self._cache.labels(result).inc()


class SpendingMetrics:
    """Budgets and idempotency."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._refused = Counter(
            "bulkhead_budget_refusals",
            "Executions that a budget refused.",
            ("scope", "dimension"),
            registry=registry,
        )
        self._steps = Counter(
            "bulkhead_budget_steps",
            "Graduated answers to budgets that fill up.",
            ("scope", "action"),
            registry=registry,
        )
        self._limit = Gauge(
            "bulkhead_budget_limit",
            "What may be used, in units of the dimension.",
            ("scope", "dimension"),
            registry=registry,
        )
        self._used = Gauge(
            "bulkhead_budget_used",
            "What is used or reserved, in units of the dimension.",
            ("scope", "dimension"),
            registry=registry,
        )
        self._idempotency = cache(
            Counter(
                "bulkhead_idempotency",
                "Requests with an idempotency key.",
                ("outcome",),
                registry=registry,
            ).labels
        )

    def refused(self, scope: str, dimension: str) -> None:
        """Count one refusal."""
        self._refused.labels(scope, dimension).inc()

    def step(self, scope: str, action: str) -> None:
        """Count one graduated answer."""
        self._steps.labels(scope, action).inc()

    def balance(self, scope: str, dimension: str, *, used: Decimal, limit: Decimal) -> None:
        """Show where an account of the whole organization stands."""
        self._limit.labels(scope, dimension).set(float(limit))
        self._used.labels(scope, dimension).set(float(used))

    def idempotency(self, outcome: str) -> None:
        """Count start, hit, conflict, complete or fail."""
        self._idempotency(outcome).inc()


class ContextMetrics:
    """What keeps conversations within the model's window."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._compactions = Counter(
            "bulkhead_compactions",
            "Summaries of older turns, by who wrote them.",
            ("by",),
            registry=registry,
        )
        self._cleanups = Counter(
            "bulkhead_context_cleanups",
            "Turns whose oldest messages were left out.",
            registry=registry,
        )

    def compacted(self, by: Literal["model", "fallback"]) -> None:
        """Count one summary."""
        self._compactions.labels(by).inc()

    def cleaned(self) -> None:
        """Count one turn that left messages out."""
        self._cleanups.inc()


class StoreMetrics:
    """The event log."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events_lost = Counter(
            "bulkhead_events_lost",
            "Events that the store did not take in time.",
            registry=registry,
        )

    def events_lost(self, events: int) -> None:
        """Count events that are gone."""
        self._events_lost.inc(events)
