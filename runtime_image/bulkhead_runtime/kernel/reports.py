"""Tells events and metrics what happens to executions; ids, outcomes and figures, never content."""

import asyncio
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Literal

from bulkhead_runtime.errors import Problem
from bulkhead_runtime.events.port import Events, happened
from bulkhead_runtime.kernel.context import HEALTH_CHECK, ExecutionContext
from bulkhead_runtime.kernel.execution import Execution, UsageTotal
from bulkhead_runtime.kernel.purse import BudgetRefusedError
from bulkhead_runtime.kernel.verdicts import failed
from bulkhead_runtime.models.circuit import CircuitState
from bulkhead_runtime.models.errors import ModelError
from bulkhead_runtime.models.port import Switch, Usage
from bulkhead_runtime.policy.port import Decision
from bulkhead_runtime.store.port import ExpiredSession
from bulkhead_runtime.store.spending import Account, Balance
from bulkhead_runtime.telemetry.metrics import Metrics

IdempotencyOutcome = Literal["start", "hit", "conflict", "complete", "fail"]

_NOTHING: Final = Decimal(0)


class Reports:
    """Where the kernel says what it saw."""

    def __init__(self, events: Events, metrics: Metrics) -> None:
        self._events = events
        self._metrics = metrics

    def publish(self, type_: str, context: ExecutionContext, data: Mapping[str, Any]) -> None:
        """Publish one event of an execution."""
        self._events.publish(
            happened(
                type_,
                context.principal.name,
                session_id=context.session_id,
                trace_id=context.trace.trace_id,
                run_id=context.run_id,
                data=data,
            )
        )

    def accepted(self, execution: Execution) -> None:
        """Say that an execution came in."""
        data = {
            "agent": execution.agent,
            "model": execution.model,
            "request_id": execution.context.request_id,
        }
        self.publish("request.start", execution.context, data)

    def ended(self, execution: Execution, error: BaseException | None, seconds: float) -> None:
        """Count an execution and say how it ended."""
        usage = execution.usage
        self._metrics.executions.spent(execution.agent, _tokens(usage), _cost(usage))
        if execution.context.principal is not HEALTH_CHECK:
            self._counted(execution, error, seconds)
        data: dict[str, Any] = {
            "agent": execution.agent,
            "version": execution.version,
            "outcome": execution.outcome,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "seconds": round(seconds, 4),
            "request_id": execution.context.request_id,
        }
        if error is None:
            self.publish("request.complete", execution.context, data)
            return
        data["code"] = getattr(error, "code", type(error).__name__)
        data["status"] = getattr(error, "status", None)
        self.publish("request.error", execution.context, data)

    def _counted(self, execution: Execution, error: BaseException | None, seconds: float) -> None:
        """Count what a tenant asked for; a check of a version is nobody's failed request."""
        metrics = self._metrics.executions
        metrics.ended(execution.agent, execution.package, execution.version, execution.outcome)
        metrics.took(execution.agent, seconds)
        self._measured(execution, error, seconds)
        if error is not None:
            metrics.failed(execution.agent, _code(error))
        elif execution.turn is not None:
            metrics.turn(execution.agent)

    def _measured(self, execution: Execution, error: BaseException | None, seconds: float) -> None:
        verdict = failed(execution, error)
        if verdict is not None:
            self._metrics.versions.ended(
                (execution.package, execution.version),
                failed=verdict,
                seconds=seconds,
                cost=execution.usage.known_cost,
            )

    def refused(self, execution: Execution, problem: Problem) -> None:
        """Say that a budget had no room; other refusals are told by how the execution ends."""
        if not isinstance(problem, BudgetRefusedError):
            return
        account, dimension = problem.refused.account, problem.refused.dimension
        self._metrics.spending.refused(account.scope, dimension)
        data = {
            "scope": account.scope,
            "key": account.key,
            "dimension": dimension,
            "left": format(problem.refused.left, "f"),
        }
        self.publish("budget.refused", execution.context, data)

    def step(
        self, type_: str, action: str, execution: Execution, account: Account, data: dict[str, Any]
    ) -> None:
        """Say that an account passed a step of spec.budgets.steps."""
        self._metrics.spending.step(account.scope, action)
        named = {"scope": account.scope, "key": account.key, **data}
        self.publish(type_, execution.context, named)

    def balances(self, balances: tuple[Balance, ...]) -> None:
        """Show where the accounts of the whole organization stand, and no others any more."""
        self._metrics.spending.keep(
            {(one.account.scope, name) for one in balances for name in one.account.limits}
        )
        for one in balances:
            self.balance(one)

    def balance(self, balance: Balance) -> None:
        """Show where an account of the whole organization stands."""
        for dimension, limit in balance.account.limits.items():
            self._metrics.spending.balance(
                balance.account.scope,
                dimension,
                used=balance.used.get(dimension, _NOTHING),
                reserved=balance.reserved.get(dimension, _NOTHING),
                limit=limit,
            )

    def model_called(self, model: str, outcome: str, seconds: float) -> None:
        """Count one call of a model; `outcome` is ok or the kind of its error."""
        self._metrics.models.called(model, outcome, seconds)

    def first_part(self, model: str, seconds: float) -> None:
        """Count how long the first part of an answer took."""
        self._metrics.models.first_part(model, seconds)

    def first_text(self, execution: Execution) -> None:
        """Count how long the first text took since the execution came in."""
        if execution.context.principal is HEALTH_CHECK:
            return
        seconds = time.monotonic() - execution.started
        self._metrics.executions.first_token(execution.agent, seconds)

    def model_used(self, model: str, usage: Usage) -> None:
        """Count what one model that was asked took."""
        tokens = (usage.input_tokens, usage.output_tokens)
        self._metrics.models.used(model, tokens, usage.cost)

    def cached(self, *, hit: bool) -> None:
        """Count one look into the cache of answers."""
        self._metrics.models.cache("hit" if hit else "miss")

    def model_denied(self, execution: Execution, error: ModelError) -> None:
        """Say that a model may not be used."""
        data = {"model": execution.model, "reason": error.message, "audit": False}
        self.publish("model.denied", execution.context, data)

    def model_watched(self, model: str, decision: Decision, context: ExecutionContext) -> None:
        """Say that a model answers which would not but for the mode Audit."""
        reason = f"{decision.reason} (rule {decision.rule})"
        self.publish("model.denied", context, {"model": model, "reason": reason, "audit": True})

    def fell_back(self, execution: Execution, switch: Switch) -> None:
        """Say that the next model of a plan is asked."""
        self._metrics.models.fell_back(switch.failed, switch.model)
        data = {"from": switch.failed, "to": switch.model, "reason": switch.error.kind}
        self.publish("model.fallback", execution.context, data)

    def circuit(self, provider: str, state: CircuitState) -> None:
        """Say that a provider is left alone, or asked again."""
        self._metrics.models.circuit(provider, is_open=state == "open")
        if state != "half_open":
            self._process(f"model.circuit_{state}", {"provider": provider})

    def session_created(self, execution: Execution) -> None:
        """Say that a session began with its first message."""
        data = {"agent": execution.agent, "version": execution.version}
        self.publish("session.created", execution.context, data)

    def expired(self, session: ExpiredSession) -> None:
        """Say that a session was archived because nothing happened in it."""
        self._process("session.expired", {}, session.principal, session.id)

    def policy_changed(self, kind: str, name: str, principal: str) -> None:
        """Say that a policy was added, replaced or removed through the API."""
        self._process("policy.changed", {"kind": kind, "name": name}, principal)

    def _process(
        self,
        type_: str,
        data: Mapping[str, Any],
        principal: str = "",
        session_id: str | None = None,
    ) -> None:
        """Publish an event that no execution caused."""
        self._events.publish(happened(type_, principal, session_id=session_id, data=data))

    def idempotency(self, outcome: IdempotencyOutcome, execution: Execution) -> None:
        """Say what became of a request with a key."""
        self._metrics.spending.idempotency(outcome)
        self.publish(f"idempotency.{outcome}", execution.context, {"agent": execution.agent})

    def summarized(self, execution: Execution) -> None:
        """Count what the attempt to write a summary took, whatever came of it."""
        usage = execution.usage
        self._metrics.executions.spent(execution.agent, _tokens(usage), _cost(usage))

    def compacted(
        self, context: ExecutionContext, turns: int, by: Literal["model", "fallback"]
    ) -> None:
        """Say that older turns became a summary."""
        self._metrics.context.compacted(by)
        self.publish("session.compacted", context, {"turns": turns, "by": by})

    def cleaned(self, context: ExecutionContext, messages: int, tokens: int) -> None:
        """Say that old messages were left out of what the model is told."""
        self._metrics.context.cleaned()
        self.publish("session.cleaned", context, {"messages": messages, "tokens": tokens})


def _tokens(usage: UsageTotal) -> tuple[int, int]:
    return usage.input_tokens, usage.output_tokens


def _cost(usage: UsageTotal) -> float | None:
    return None if usage.known_cost is None else float(usage.known_cost)


def _code(error: BaseException) -> str:
    """Return the stable code of a failure, also of one that nobody foresaw."""
    if isinstance(error, asyncio.CancelledError):
        return "interrupted"
    return str(getattr(error, "code", "internal_error"))
