"""Metrics of what executions use and are refused: tools, models, budgets, context, events.

Every label is a word of the code or a name of the configuration, or goes through `BoundedNames`.
Names of GenAI instruments keep OpenTelemetry's stems, so that scraped and pushed figures agree.
"""

from collections.abc import Collection
from decimal import Decimal
from typing import Final, Literal

from bulkhead_runtime.telemetry.instruments import Instruments, Labels
from bulkhead_runtime.telemetry.labels import BoundedNames

CALL_BOUNDS: Final = (0.01, 0.04, 0.16, 0.64, 2.56, 10.24, 40.96)
FIRST_PART_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_TOOLS: Final = 64
_MODELS: Final = 64
_PROVIDERS: Final = 32
_RULES: Final = 64


class ToolMetrics:
    """Calls of tools."""

    def __init__(self, instruments: Instruments) -> None:
        self._tools = BoundedNames(_TOOLS)
        self._rules = BoundedNames(_RULES)
        self._calls = instruments.counter(
            "bulkhead_tool_calls_total", "Tool calls by outcome.", ("tool", "outcome")
        )
        self._denials = instruments.counter(
            "bulkhead_tool_denials_total",
            "Tool calls that policy denied, by the rule that did.",
            ("tool", "rule"),
        )
        self._duration = instruments.histogram(
            "gen_ai_execute_tool_duration_seconds",
            "Time that tool calls took.",
            ("tool",),
            bounds=CALL_BOUNDS,
            traced=True,
        )

    def called(self, tool: str, outcome: str, seconds: float) -> None:
        """Count one call that ran; `outcome` is ok or the envelope's code."""
        label = self._tools.label(tool)
        self._calls.add((label, outcome))
        self._duration.observe(seconds, (label,))

    def denied(self, tool: str, rule: str) -> None:
        """Count one call that policy did not let through."""
        label = self._tools.label(tool)
        self._calls.add((label, "denied"))
        self._denials.add((label, self._rules.label(rule)))


class ModelMetrics:
    """Calls of models, what they took, and what stands in for those that fail.

    Models are named PROVIDER/MODEL.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._models = BoundedNames(_MODELS)
        self._providers = BoundedNames(_PROVIDERS)
        self._calls = instruments.counter(
            "bulkhead_model_calls_total",
            "Model calls by outcome, ok or a class of error.",
            ("provider", "model", "outcome"),
        )
        self._duration = instruments.histogram(
            "gen_ai_client_operation_duration_seconds",
            "Time from call to end of the answer.",
            ("provider",),
            bounds=CALL_BOUNDS,
            traced=True,
        )
        self._first_part = instruments.histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "Time from call to the first part of the answer.",
            ("provider",),
            bounds=FIRST_PART_BOUNDS,
            traced=True,
        )
        self._tokens = instruments.counter(
            "gen_ai_client_token_usage_total",
            "Tokens by model and direction.",
            ("provider", "model", "direction"),
        )
        self._cost = instruments.counter(
            "bulkhead_model_cost_usd_total",
            "US dollars by model, where its price is known.",
            ("provider", "model"),
        )
        self._fallbacks = instruments.counter(
            "bulkhead_model_fallbacks_total",
            "Calls that another model answered, by provider.",
            ("provider", "instead"),
        )
        self._circuit = instruments.gauge(
            "bulkhead_model_circuit_open",
            "1 while a provider is left alone after failures.",
            ("provider",),
        )
        self._cache = instruments.counter(
            "bulkhead_model_cache_lookups_total", "Lookups in the response cache.", ("result",)
        )

    def called(self, model: str, outcome: str, seconds: float) -> None:
        """Count one call; `outcome` is ok or the kind of the model's error."""
        provider, name = self._named(model)
        self._calls.add((provider, name, outcome))
        self._duration.observe(seconds, (provider,))

    def first_part(self, model: str, seconds: float) -> None:
        """Count how long the first part took."""
        self._first_part.observe(seconds, self._named(model)[:1])

    def used(self, model: str, tokens: tuple[int, int], cost: Decimal | None) -> None:
        """Count what one call took; `tokens` are of input and output, `cost` is in US dollars."""
        provider, name = self._named(model)
        self._tokens.add((provider, name, "input"), tokens[0])
        self._tokens.add((provider, name, "output"), tokens[1])
        if cost:
            self._cost.add((provider, name), float(cost))

    def fell_back(self, failed: str, instead: str) -> None:
        """Count one model that is asked instead of another."""
        self._fallbacks.add((self._named(failed)[0], self._named(instead)[0]))

    def circuit(self, provider: str, *, is_open: bool) -> None:
        """Show whether a provider is left alone."""
        self._circuit.set(1 if is_open else 0, (self._providers.label(provider),))

    def cache(self, result: Literal["hit", "miss"]) -> None:
        """Count one lookup."""
        self._cache.add((result,))

    def _named(self, model: str) -> tuple[str, str]:
        provider, _, name = model.partition("/")
        return self._providers.label(provider), self._models.label(name)


class SpendingMetrics:
    """Budgets and idempotency."""

    def __init__(self, instruments: Instruments) -> None:
        self._refused = instruments.counter(
            "bulkhead_budget_refusals_total",
            "Executions that a budget refused.",
            ("scope", "dimension"),
        )
        self._steps = instruments.counter(
            "bulkhead_budget_steps_total",
            "Graduated answers to budgets that fill up.",
            ("scope", "action"),
        )
        account = ("scope", "dimension")
        self._limit = instruments.gauge(
            "bulkhead_budget_limit", "What may be used, in units of the dimension.", account
        )
        self._used = instruments.gauge(
            "bulkhead_budget_used", "What is used or reserved, in units of the dimension.", account
        )
        self._reserved = instruments.gauge(
            "bulkhead_budget_reserved",
            "What is reserved for work that runs, in units of the dimension.",
            account,
        )
        self._idempotency = instruments.counter(
            "bulkhead_idempotency_total", "Requests with an idempotency key.", ("outcome",)
        )

    def refused(self, scope: str, dimension: str) -> None:
        """Count one refusal."""
        self._refused.add((scope, dimension))

    def step(self, scope: str, action: str) -> None:
        """Count one graduated answer."""
        self._steps.add((scope, action))

    def balance(
        self, scope: str, dimension: str, *, used: Decimal, reserved: Decimal, limit: Decimal
    ) -> None:
        """Show where an account of the whole organization stands; `used` is without `reserved`."""
        account = (scope, dimension)
        self._limit.set(float(limit), account)
        self._used.set(float(used + reserved), account)
        self._reserved.set(float(reserved), account)

    def keep(self, accounts: Collection[Labels]) -> None:
        """Drop what is shown of all accounts and dimensions but these."""
        for gauge in (self._limit, self._used, self._reserved):
            gauge.keep(accounts.__contains__)

    def idempotency(self, outcome: str) -> None:
        """Count start, hit, conflict, complete or fail."""
        self._idempotency.add((outcome,))


class ContextMetrics:
    """What keeps conversations within the model's window."""

    def __init__(self, instruments: Instruments) -> None:
        self._compactions = instruments.counter(
            "bulkhead_compactions_total", "Summaries of older turns, by who wrote them.", ("by",)
        )
        self._cleanups = instruments.counter(
            "bulkhead_context_cleanups_total", "Turns whose oldest messages were left out."
        )

    def compacted(self, by: Literal["model", "fallback"]) -> None:
        """Count one summary."""
        self._compactions.add((by,))

    def cleaned(self) -> None:
        """Count one turn that left messages out."""
        self._cleanups.add()


class StoreMetrics:
    """The event log."""

    def __init__(self, instruments: Instruments) -> None:
        self._events_lost = instruments.counter(
            "bulkhead_events_lost_total", "Events that the store did not take in time."
        )

    def events_lost(self, events: int) -> None:
        """Count events that are gone."""
        self._events_lost.add(amount=events)
