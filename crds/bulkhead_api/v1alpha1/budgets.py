"""Budgets: how much an organization's work may use, reserved before it is spent."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from bulkhead_api.schema import ApiModel, list_map, rule, rules
from bulkhead_api.v1alpha1.patterns import MODEL_NAME, MONEY

Dimension = Literal["tokens", "cost", "tool_calls", "turns", "seconds"]
DIMENSIONS: tuple[Dimension, ...] = ("tokens", "cost", "tool_calls", "turns", "seconds")

_MOST = 10**12


class Allowance(ApiModel):
    """What may be used; a dimension that is left out is counted and not bounded."""

    tokens: Annotated[
        int | None, Field(description="Input and output tokens together.", ge=1, le=_MOST)
    ] = None
    cost: Annotated[
        str | None,
        Field(
            description=(
                "US dollars as decimal text, for example '10.00'. A model whose price is unknown "
                "is refused while this is given."
            ),
            max_length=16,
            pattern=MONEY,
        ),
    ] = None
    tool_calls: Annotated[int | None, Field(description="Calls of tools.", ge=1, le=_MOST)] = None
    turns: Annotated[
        int | None, Field(description="Rounds of the loop: calls of a model.", ge=1, le=_MOST)
    ] = None
    seconds: Annotated[int | None, Field(description="Seconds of work.", ge=1, le=_MOST)] = None

    def amounts(self) -> dict[Dimension, Decimal]:
        """Return the bounded dimensions: dollars for cost, whole numbers for the others."""
        given = {name: getattr(self, name) for name in DIMENSIONS}
        return {name: Decimal(value) for name, value in given.items() if value is not None}

    def within(self, other: "Allowance") -> "Allowance":
        """Return the narrower of both in each dimension."""
        mine, theirs = self.amounts(), other.amounts()
        narrower: dict[str, Any] = {
            name: getattr(other, name)
            for name, amount in theirs.items()
            if name not in mine or amount < mine[name]
        }
        return self.model_copy(update=narrower)


class RequestBudget(ApiModel):
    """What one request may use in all, however many models and tools it calls."""

    tokens: Annotated[
        int, Field(description="Input and output tokens together.", ge=1, le=_MOST)
    ] = 100_000
    cost: Annotated[
        str,
        Field(
            description=(
                "US dollars as decimal text. The default bounds models whose price is known; "
                "with any other value a model without one is refused: give it one in "
                "`spec.models.prices`."
            ),
            max_length=16,
            pattern=MONEY,
        ),
    ] = "10.00"
    tool_calls: Annotated[int, Field(description="Calls of tools.", ge=1, le=_MOST)] = 100
    turns: Annotated[
        int, Field(description="Rounds of the loop: calls of a model.", ge=1, le=_MOST)
    ] = 20
    seconds: Annotated[int, Field(description="Seconds of work.", ge=1, le=_MOST)] = 300

    def amounts(self) -> dict[Dimension, Decimal]:
        """Return every bound: dollars for cost, whole numbers for the others."""
        return {name: Decimal(getattr(self, name)) for name in DIMENSIONS}


class BudgetStep(ApiModel):
    """What happens before a budget is used up; at 100 percent work is always refused."""

    percent: Annotated[
        int, Field(description="Percent of a budget from which on this happens.", ge=1, le=99)
    ]
    action: Annotated[
        Literal["Warn", "Throttle", "CheaperModel"],
        Field(
            description=(
                "Warn tells caller and event log, Throttle admits throttledRequestsPerMinute, "
                "CheaperModel answers with cheaperModel."
            )
        ),
    ]


class Budgets(ApiModel):
    """Budgets per request, session, agent and day, and in all."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.cheaperModel) || !self.steps.exists(s, s.action == 'CheaperModel')",
                "must be given while `spec.budgets.steps` has the action 'CheaperModel': name it "
                "as PROVIDER/MODEL",
                field_path=".cheaperModel",
            ),
        )
    )

    request: Annotated[RequestBudget, Field(description="What one request may use.")] = (
        RequestBudget()
    )
    session: Annotated[Allowance, Field(description="What one session may use in its life.")] = (
        Allowance()
    )
    agent_per_day: Annotated[
        Allowance, Field(description="What one agent may use per day (UTC).")
    ] = Allowance()
    day: Annotated[Allowance, Field(description="What the organization may use per day (UTC).")] = (
        Allowance()
    )
    total: Annotated[Allowance, Field(description="What the organization may use in all.")] = (
        Allowance()
    )
    steps: Annotated[
        tuple[BudgetStep, ...],
        Field(
            description="What happens as a budget of a session, agent, day or in all fills up.",
            max_length=8,
            json_schema_extra=list_map("percent"),
        ),
    ] = ()
    cheaper_model: Annotated[
        str | None,
        Field(
            description="Model of the action CheaperModel, as PROVIDER/MODEL.",
            max_length=256,
            pattern=MODEL_NAME,
        ),
    ] = None
    throttled_requests_per_minute: Annotated[
        int, Field(description="Requests per minute under the action Throttle.", ge=1, le=100_000)
    ] = 6
