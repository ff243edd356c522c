"""Models and what everything costs: calls, errors, latency, tokens, dollars, resources."""

from typing import Final

from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units

from dashboards.grafana.frame import Section, framed
from dashboards.grafana.panels import Column, Line, Panel, figure, graph, listing
from dashboards.grafana.queries import (
    highest,
    increase,
    operators,
    picked,
    quantile,
    rate,
    share,
    total,
)

_HOUR: Final = 3600
_RANGE: Final = "$__range"
_MODEL: Final = ("provider", "model")
_SPENDING: Final = rate(picked("bulkhead_cost_usd_total"))
_COST: Final = "bulkhead_model_cost_usd_total"


def dashboard() -> models.Dashboard:
    """Return the dashboard of models and of money."""
    return framed(
        "models-and-cost",
        "Models and cost",
        "What models do and what they and the cluster cost, by organization, provider and model.",
        (
            Section("Spending on models", [*_spending(), *_spenders()]),
            Section("Providers", [*_providers(), *_waits()]),
            Section("Resources", _resources()),
        ),
    )


def _spending() -> list[Panel]:
    a_day_ago = rate(picked("bulkhead_cost_usd_total"), ago="1d")
    tokens = picked("gen_ai_client_token_usage_total")
    return [
        figure(
            "Spending per hour",
            "US dollars per hour at the present rate, where prices are known. A model without a "
            "price costs nothing here: name one in `spec.models.prices`.",
            units.Dollars,
            f"{total(_SPENDING)} * {_HOUR}",
        ),
        figure(
            "Spent",
            "US dollars that models cost in the chosen time.",
            units.Dollars,
            total(increase(picked("bulkhead_cost_usd_total"), _RANGE)),
        ),
        figure(
            "Against the day before",
            "The present rate as a multiple of that of a day ago. Above 3 find the organization "
            "below: a loop, a leaked key or a success.",
            units.Short,
            f"{total(_SPENDING)} / ({total(a_day_ago)} > 0)",
            limits=(2, 3),
        ),
        figure(
            "Tokens per second",
            "Tokens of all models, in and out, at the present rate.",
            units.OpsPerSecond,
            total(rate(tokens)),
        ),
        figure(
            "Answered from the cache",
            "Share of look-ups in the response cache that found an answer. Near zero with the "
            "cache switched on: requests differ too much for it to help.",
            units.PercentUnit,
            share(
                total(rate(picked("bulkhead_model_cache_lookups_total", 'result="hit"'))),
                total(rate(picked("bulkhead_model_cache_lookups_total"))),
            ),
            width=8,
        ),
    ]


def _spenders() -> list[Panel]:
    tokens = picked("gen_ai_client_token_usage_total")
    return [
        graph(
            "Spending by organization",
            "US dollars per hour. An abnormal rise shows here first; a budget would bound it.",
            units.Dollars,
            Line(f"{total(_SPENDING, 'organization')} * {_HOUR}", "{{organization}}"),
            stacked=True,
        ),
        listing(
            "Models by cost",
            "US dollars, tokens and calls of each model in the chosen time, dearest first. A "
            "dear model with short answers may be more than the agent needs.",
            Column("spent", total(increase(picked(_COST), _RANGE), *_MODEL), units.Dollars),
            Column("tokens", total(increase(tokens, _RANGE), *_MODEL)),
            Column("calls", total(increase(picked("bulkhead_model_calls_total"), _RANGE), *_MODEL)),
            named=_MODEL,
            sort="spent",
        ),
        graph(
            "Tokens by model",
            "Tokens per second by model and direction. Input far above output: conversations "
            "grow; compaction bounds them.",
            units.OpsPerSecond,
            Line(total(rate(tokens), "model", "direction"), "{{model}} {{direction}}"),
        ),
        graph(
            "Tokens by organization",
            "Tokens per second that organizations' agents use, by direction.",
            units.OpsPerSecond,
            Line(
                total(rate(picked("bulkhead_tokens_total")), "organization", "direction"),
                "{{organization}} {{direction}}",
            ),
        ),
    ]


def _providers() -> list[Panel]:
    calls = total(rate(picked("bulkhead_model_calls_total")), "provider")
    errors = total(rate(picked("bulkhead_model_calls_total", 'outcome!~"ok|ended"')), "provider")
    return [
        graph(
            "Calls by outcome",
            "Calls of models by provider and outcome. rate_limited: ask the provider for more; "
            "unavailable: add a fallback.",
            units.OpsPerSecond,
            Line(
                total(rate(picked("bulkhead_model_calls_total")), "provider", "outcome"),
                "{{provider}} {{outcome}}",
            ),
            stacked=True,
        ),
        graph(
            "Failing by provider",
            "Share of calls that failed. The provider's own status page tells more.",
            units.PercentUnit,
            Line(share(errors, calls), "{{provider}}"),
            limits=(0.01, 0.05),
        ),
    ]


def _by_provider(buckets: str) -> list[Line]:
    return [
        Line(quantile(q, picked(buckets), "provider"), f"{{{{provider}}}} {name}")
        for q, name in ((0.5, "p50"), (0.95, "p95"))
    ]


def _waits() -> list[Panel]:
    return [
        graph(
            "Duration of calls",
            "Time from call to the end of the answer, median and 95th percentile.",
            units.Seconds,
            *_by_provider("gen_ai_client_operation_duration_seconds_bucket"),
        ),
        graph(
            "First part of the answer",
            "Time from call to the first part, median and 95th percentile. It grows when the "
            "provider is short of machines.",
            units.Seconds,
            *_by_provider("gen_ai_client_operation_time_to_first_chunk_seconds_bucket"),
        ),
        graph(
            "Answers of another model",
            "Calls that a fallback answered, by the provider that failed and the one instead. "
            "For hours: change the order, the price may differ.",
            units.OpsPerSecond,
            Line(
                total(rate(picked("bulkhead_model_fallbacks_total")), "provider", "instead"),
                "{{provider}} by {{instead}}",
            ),
        ),
        graph(
            "Providers left alone",
            "1 while an organization's runtime leaves a provider alone after failures. It tries "
            "again by itself.",
            units.Short,
            Line(
                highest(picked("bulkhead_model_circuit_open"), "organization", "provider"),
                "{{organization}} {{provider}}",
            ),
            limits=(1,),
        ),
    ]


def _resources() -> list[Panel]:
    reserved = picked("bulkhead_organization_reserved")
    # Every replica of the operator tells the prices.
    price = highest(operators("bulkhead_resource_price_usd_per_hour"), "resource")
    cost = f"{reserved} * on (resource) group_left () {price}"
    return [
        figure(
            "Reserved resources per hour",
            "US dollars per hour for what the cluster keeps free for organizations. 0 means that "
            "nobody named prices: `metrics.resourcePrices` of the chart.",
            units.Dollars,
            total(cost),
            width=6,
        ),
        figure(
            "By resource, per hour",
            "US dollars per hour for cores, memory and volumes.",
            units.Dollars,
            total(cost, "resource"),
            legend="{{resource}}",
            width=18,
        ),
        graph(
            "Resources by organization",
            "US dollars per hour for what is reserved. Lower `spec.limits.requests` where much "
            "is reserved and little used; a suspended organization costs its volume only.",
            units.Dollars,
            Line(total(cost, "organization"), "{{organization}}"),
            stacked=True,
        ),
        listing(
            "Models and resources by organization",
            "US dollars per hour at the present rate: what to charge an organization.",
            Column("resources", total(cost, "organization"), units.Dollars),
            Column(
                "models",
                f"{total(_SPENDING, 'organization')} * {_HOUR}",
                units.Dollars,
            ),
            most=50,
            named=("organization",),
            sort="resources",
        ),
    ]
