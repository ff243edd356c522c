"""One organization: the four golden signals, its agents, what it uses of what it may use."""

from typing import Final

from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units

from dashboards.grafana.frame import Section, framed
from dashboards.grafana.panels import Column, Line, Panel, figure, graph, listing
from dashboards.grafana.queries import (
    failing,
    highest,
    increase,
    or_zero,
    picked,
    quantile,
    rate,
    share,
    total,
)

_OF_ORGANIZATION: Final = 'kind="OrganizationRuntime"'
_RANGE: Final = "$__range"
_QUANTILES: Final = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))


def dashboard() -> models.Dashboard:
    """Return the dashboard of the organization that is chosen."""
    return framed(
        "organization",
        "Organization",
        "One organization or several: traffic, errors, latency and saturation, its agents, and "
        "its use of what it may use.",
        (
            Section("Now", _now()),
            Section("Traffic and errors", _traffic()),
            Section("Latency", _latency()),
            Section("Saturation", [*_saturation(), *_processes()]),
            Section("Agents", _agents()),
            Section("Limits and access", _limits()),
        ),
    )


def _now() -> list[Panel]:
    not_ready = picked(
        "bulkhead_resource_condition", _OF_ORGANIZATION, 'type="Ready"', 'status!="True"'
    )
    return [
        figure(
            "Not ready",
            "Of the organizations that are chosen, those whose Ready condition does not hold: "
            "`kubectl describe orgrt NAME` says why.",
            units.Short,
            or_zero(f"count({not_ready})"),
            limits=(1,),
        ),
        figure(
            "Executions per second",
            "Executions that end. Compare with what the organization's clients send.",
            units.OpsPerSecond,
            total(rate(picked("bulkhead_executions_total"))),
        ),
        figure(
            "Failing",
            "Share of executions that ended in an error. Above 1 % look at the errors by class.",
            units.PercentUnit,
            failing(),
            limits=(0.01, 0.05),
        ),
        figure(
            "First token, p95",
            "Time from arrival to a model's first text. What people feel as waiting.",
            units.Seconds,
            quantile(0.95, picked("bulkhead_first_token_seconds_bucket")),
            limits=(2, 10),
        ),
        figure(
            "Queued",
            "Executions that wait for a place. A queue that stays means too few places: "
            "`spec.limits.maxConcurrentAgents`.",
            units.Short,
            total(picked("bulkhead_executions_queued")),
            limits=(1, 10),
        ),
        figure(
            "Sessions",
            "Sessions in the store, counted once however many replicas there are.",
            units.Short,
            total(highest(picked("bulkhead_sessions"), "organization")),
        ),
    ]


def _traffic() -> list[Panel]:
    requests = rate(picked("bulkhead_requests_total"))
    refused = rate(picked("bulkhead_requests_total", 'status=~"4..|5.."'))
    return [
        graph(
            "Executions by outcome",
            "How executions end. Refused is a bound or a policy at work, error a failure.",
            units.OpsPerSecond,
            Line(total(rate(picked("bulkhead_executions_total")), "outcome"), "{{outcome}}"),
            stacked=True,
        ),
        graph(
            "Errors by class",
            "Executions that failed or were refused, by the code that clients got. The reference "
            "of errors says what each means and what to do.",
            units.OpsPerSecond,
            Line(total(rate(picked("bulkhead_execution_errors_total")), "class"), "{{class}}"),
            stacked=True,
        ),
        graph(
            "Requests by route",
            "Requests to the API. A route that nobody should use much points at a client that "
            "polls: events can be followed instead.",
            units.RequestsPerSecond,
            Line(total(requests, "route"), "{{route}}"),
        ),
        graph(
            "Refused and failed requests",
            "Requests answered with 4xx or 5xx. 401 is a wrong key, 429 a bound, 5xx ours: read "
            "the runtime's log for the request id.",
            units.RequestsPerSecond,
            Line(total(refused, "route", "status"), "{{status}} {{route}}"),
        ),
        graph(
            "Turns and tool calls",
            "Turns that sessions remember and calls of tools by outcome. Many calls per turn "
            "mean an agent that goes in circles.",
            units.OpsPerSecond,
            Line(total(rate(picked("bulkhead_turns_total"))), "turns"),
            Line(total(rate(picked("bulkhead_tool_calls_total")), "outcome"), "tools: {{outcome}}"),
        ),
        graph(
            "Denied tool calls",
            "Calls that a policy did not let through, by tool and rule. A rule that denies what "
            "an agent needs shows here before users complain.",
            units.OpsPerSecond,
            Line(
                total(rate(picked("bulkhead_tool_denials_total")), "tool", "rule"),
                "{{tool}} by {{rule}}",
            ),
        ),
    ]


def _quantiles(histogram: str, *by: str) -> list[Line]:
    named = "".join(f" {{{{{label}}}}}" for label in by)
    return [
        Line(quantile(q, picked(f"{histogram}_bucket"), *by), f"{name}{named}")
        for q, name in _QUANTILES
    ]


def _latency() -> list[Panel]:
    return [
        graph(
            "Duration of executions",
            "Time from arrival to end. Dots lead to traces where Prometheus keeps exemplars.",
            units.Seconds,
            *_quantiles("bulkhead_execution_duration_seconds"),
        ),
        graph(
            "First token",
            "Time from arrival to a model's first text. Where it grows and the wait in the queue "
            "does not, the provider is slow: see Models and cost.",
            units.Seconds,
            *_quantiles("bulkhead_first_token_seconds"),
            limits=(2, 10),
        ),
        graph(
            "Wait in the queue",
            "Time that executions waited for a place. It should be next to nothing.",
            units.Seconds,
            *_quantiles("bulkhead_queue_wait_seconds"),
            limits=(1, 10),
        ),
        graph(
            "Duration of tool calls, p95",
            "Time that tools take. A slow tool makes every turn slow that calls it.",
            units.Seconds,
            Line(
                quantile(0.95, picked("gen_ai_execute_tool_duration_seconds_bucket"), "tool"),
                "{{tool}}",
            ),
        ),
    ]


def _saturation() -> list[Panel]:
    return [
        graph(
            "Executions against the limit",
            "Executions that run and may run at once, and agents of which one runs. At the limit "
            "the rest waits.",
            units.Short,
            Line(total(picked("bulkhead_executions_active")), "running"),
            Line(total(picked("bulkhead_executions_limit")), "limit"),
            Line(highest(picked("bulkhead_agents_active")), "agents at work"),
        ),
        graph(
            "Queue against the limit",
            "Executions that wait and may wait; beyond the limit clients get 429.",
            units.Short,
            Line(total(picked("bulkhead_executions_queued")), "waiting"),
            Line(total(picked("bulkhead_queue_limit")), "limit"),
        ),
        graph(
            "Longest wait",
            "Age of the execution that waits longest. When it grows without end, executions do "
            "not finish: look at the provider and at tools.",
            units.Seconds,
            Line(
                highest(picked("bulkhead_queue_oldest_age_seconds"), "organization"),
                "{{organization}}",
            ),
            limits=(5, 30),
            width=8,
        ),
    ]


def _processes() -> list[Panel]:
    cores = picked("bulkhead_organization_limit", 'resource="cpu_cores"')
    memory = picked("bulkhead_organization_limit", 'resource="memory_bytes"')
    return [
        graph(
            "CPU",
            "Cores in use and allowed. At the limit everything gets slow, first tokens first: "
            "raise `spec.limits.maxCPUPercent` or `spec.replicas`.",
            units.Short,
            Line(total(rate(picked("process_cpu_seconds_total"))), "in use"),
            Line(total(cores), "limit"),
            width=8,
        ),
        graph(
            "Memory",
            "Bytes in use and allowed. At the limit the kernel ends the runtime: raise "
            "`spec.limits.maxMemoryMB` before that.",
            units.BytesIEC,
            Line(total(picked("process_resident_memory_bytes")), "in use"),
            Line(total(memory), "limit"),
            width=8,
        ),
        graph(
            "Open files against the limit",
            "Share of the file descriptors that each replica may open. Growth without end is a "
            "leak of connections: report it with the runtime's log.",
            units.PercentUnit,
            Line(
                f"{picked('process_open_fds')} / {picked('process_max_fds')}",
                "{{organization}} {{instance}}",
            ),
            width=8,
        ),
        graph(
            "Restarts",
            "Time since each replica began. A line that falls to zero again and again is a crash "
            "loop: `kubectl -n NAMESPACE describe pods`.",
            units.Seconds,
            Line(
                f"time() - {picked('process_start_time_seconds')}", "{{organization}} {{instance}}"
            ),
            width=8,
        ),
        graph(
            "Lost events",
            "Events that the store did not take in time. More than none means a store that does "
            "not keep pace: look at its disk.",
            units.OpsPerSecond,
            Line(
                total(rate(picked("bulkhead_events_lost_total")), "organization"),
                "{{organization}}",
            ),
            width=8,
        ),
    ]


def _agents() -> list[Panel]:
    by_agent = ("organization", "agent")
    ended = total(increase(picked("bulkhead_executions_total"), _RANGE), *by_agent)
    return [
        listing(
            "Agents by errors",
            "Share of executions that fail now, worst first. The package's owner should see it: "
            "Package rollout tells whether a new version is to blame.",
            Column("failing", failing(*by_agent), units.PercentUnit, (0.01, 0.05)),
            Column("executions", ended),
            named=by_agent,
            sort="failing",
        ),
        listing(
            "Agents by latency",
            "Duration of executions at the 95th percentile, and of the first token, worst first.",
            Column(
                "duration p95",
                quantile(0.95, picked("bulkhead_execution_duration_seconds_bucket"), *by_agent),
                units.Seconds,
            ),
            Column(
                "first token p95",
                quantile(0.95, picked("bulkhead_first_token_seconds_bucket"), *by_agent),
                units.Seconds,
                (2, 10),
            ),
            most=20,
            named=by_agent,
            sort="duration p95",
        ),
        listing(
            "Agents by cost",
            "US dollars and tokens that each agent took in the chosen time, dearest first.",
            Column(
                "spent",
                total(increase(picked("bulkhead_cost_usd_total"), _RANGE), *by_agent),
                units.Dollars,
            ),
            Column("tokens", total(increase(picked("bulkhead_tokens_total"), _RANGE), *by_agent)),
            named=by_agent,
            sort="spent",
        ),
        graph(
            "Agents",
            "Agents that are loaded. Fewer than the packages declare means that a version did "
            "not load: see Package rollout.",
            units.Short,
            Line(highest(picked("bulkhead_agents"), "organization"), "{{organization}}"),
        ),
    ]


def _limits() -> list[Panel]:
    pair = ("organization", "scope", "dimension")
    limit = highest(picked("bulkhead_budget_limit"), *pair)
    used = highest(picked("bulkhead_budget_used"), *pair)
    reserved = highest(picked("bulkhead_budget_reserved"), *pair)
    until = (
        f"{highest(picked('bulkhead_api_key_expires_timestamp_seconds'), 'organization', 'key')}"
    )
    return [
        listing(
            "Budgets",
            "What is used of each budget, fullest first. Nothing is left at 100 %: executions "
            "are refused until the window ends or `spec.budgets` is raised.",
            Column("used", share(used, limit), units.PercentUnit, (0.8, 0.95)),
            Column("held by executions", share(reserved, limit), units.PercentUnit),
            Column("limit", limit),
            named=pair,
            sort="used",
        ),
        graph(
            "Refusals and graduated answers of budgets",
            "Executions that a budget refused, and steps that it took before. Refusals that "
            "surprise the tenant call for a higher limit or a step of warning.",
            units.OpsPerSecond,
            Line(
                total(rate(picked("bulkhead_budget_refusals_total")), "scope", "dimension"),
                "refused: {{scope}} {{dimension}}",
            ),
            Line(
                total(rate(picked("bulkhead_budget_steps_total")), "scope", "action"),
                "step: {{scope}} {{action}}",
            ),
        ),
        listing(
            "API keys that expire",
            "When made keys expire. Let the tenant make a new one before: `POST /v1/api-keys`.",
            Column("expires", f"{until} * 1000", units.DateTimeFromNow),
            named=("organization", "key"),
            sort="expires",
            order="lowest",
        ),
        graph(
            "Idempotent requests",
            "Requests with an idempotency key, by what became of them. Many conflicts mean that "
            "a client uses one key for different requests.",
            units.RequestsPerSecond,
            Line(total(rate(picked("bulkhead_idempotency_total")), "outcome"), "{{outcome}}"),
        ),
    ]
