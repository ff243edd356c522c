"""Metrics for those without Prometheus: what they are now, and what they were."""

import asyncio
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from bulkhead_runtime.api import scopes
from bulkhead_runtime.api.rest.parameters import needs
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.figures import FigureRow
from bulkhead_runtime.telemetry.history import RECORDED, RETENTION, points
from bulkhead_runtime.telemetry.instruments import About
from bulkhead_runtime.telemetry.snapshot import documents

DEFAULT_SPAN: Final = timedelta(hours=1)
MAX_POINTS: Final = max(kept // step for step, kept in RETENTION.items())
"""Intervals that one answer spans at most."""

Kind = Literal["counter", "gauge", "histogram"]


class Step(IntEnum):
    """Seconds of an interval."""

    TEN_SECONDS = 10
    MINUTE = 60
    QUARTER_HOUR = 900


Names = Annotated[
    list[Annotated[str, Field(json_schema_extra={"enum": list(RECORDED)})]],
    Query(min_length=1, max_length=10, description="Which metrics."),
]
From = Annotated[
    AwareDatetime | None, Query(alias="from", description="From when, an hour ago when absent.")
]
To = Annotated[AwareDatetime | None, Query(alias="to", description="Until when, now when absent.")]
OfStep = Annotated[
    Step | None,
    Query(
        description="Seconds of an interval: 10 are kept for an hour, 60 for a day, 900 for 30 "
        "days; the finest that reaches back far enough when absent."
    ),
]


class Distributed(BaseModel):
    """What a histogram says; quantiles are estimates, in its unit."""

    count: int | None = None
    sum: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class SampleView(Distributed):
    """One series; a histogram has no value, all others nothing but."""

    labels: dict[str, str]
    value: float | None = None


class MetricView(BaseModel):
    """One metric with its series."""

    name: str
    type: Kind
    description: str
    samples: list[SampleView]


class MetricsView(BaseModel):
    """All metrics of the replica that answers, as of `updated_at`."""

    object: Literal["metrics"] = "metrics"
    updated_at: datetime
    data: list[MetricView]


class PointView(Distributed):
    """What was counted in the interval that began `at`, or the most that a gauge showed."""

    at: datetime
    value: float | None = None


class PastView(BaseModel):
    """One metric over time; intervals in which nothing was recorded are left out."""

    name: str
    type: Kind
    points: list[PointView]


class HistoryView(BaseModel):
    """Metrics of all replicas over [from, to), in intervals of `step` seconds."""

    object: Literal["metric_history"] = "metric_history"
    step: Step
    since: datetime = Field(serialization_alias="from")
    until: datetime = Field(serialization_alias="to")
    data: list[PastView]


def routes(runtime: Runtime) -> APIRouter:
    """Return the routes over one runtime."""
    router = APIRouter(
        prefix="/v1/metrics", tags=["metrics"], dependencies=[needs(scopes.USAGE_READ)]
    )

    @router.get("", response_model_exclude_unset=True)
    async def read_metrics() -> MetricsView:
        """Read all metrics as they are now."""
        readings = await runtime.read_metrics()
        data = [MetricView.model_validate(one) for one in documents(readings)]
        return MetricsView(object="metrics", updated_at=datetime.now(UTC), data=data)

    @router.get("/history", response_model_exclude_unset=True)
    async def read_metrics_of_the_past(
        metric: Names, since: From = None, until: To = None, step: OfStep = None
    ) -> HistoryView:
        """Read what metrics were, from what all replicas recorded."""
        names = _recorded(metric)
        start, end = _span(since, until)
        taken = step or _finest(start, end)
        _require_few(start, end, taken)
        rows = await runtime.store.figures(
            taken, since=int(start.timestamp()) // taken * taken, until=_seconds(end)
        )
        abouts = [runtime.metrics.about(name) for name in names]
        data = await asyncio.to_thread(_past, rows, abouts)
        return HistoryView(object="metric_history", step=taken, since=start, until=end, data=data)

    return router


def _recorded(asked: list[str]) -> list[str]:
    unknown = next((name for name in asked if name not in RECORDED), None)
    if unknown is not None:
        raise Problem(
            422,
            "invalid_request",
            f"`metric` {unknown[:64]!r} is not recorded. GET /openapi.json lists those that are.",
            field="metric",
        )
    return list(dict.fromkeys(asked))


def _span(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    end = until or datetime.now(UTC)
    try:
        start = since or end - DEFAULT_SPAN
        ordered = 0 <= start.timestamp() < end.timestamp()
    except (OverflowError, ValueError):
        ordered = False
    if not ordered:
        raise Problem(422, "invalid_request", "`from` must be before `to`.", field="from")
    return start, end


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _finest(start: datetime, end: datetime) -> Step:
    """Return the finest step that is still kept from `start` on."""
    age = max(datetime.now(UTC) - start, end - start).total_seconds()
    fitting = (step for step in Step if age < RETENTION[step] + step)
    return next(fitting, Step.QUARTER_HOUR)


def _require_few(start: datetime, end: datetime, step: int) -> None:
    if (end - start).total_seconds() > MAX_POINTS * step:
        raise Problem(
            422,
            "invalid_request",
            f"`from` and `to` are more than {MAX_POINTS} steps apart. Ask for a greater `step` or "
            "less time.",
            field="step",
        )


def _past(rows: tuple[FigureRow, ...], abouts: list[About]) -> list[PastView]:
    pairs = [(row.at, row.figures) for row in rows]
    return [
        PastView(
            name=about.name,
            type=about.kind,
            points=[_point(one) for one in points(pairs, about)],
        )
        for about in abouts
    ]


def _point(told: dict[str, Any]) -> PointView:
    return PointView(**{**told, "at": datetime.fromtimestamp(told["at"], UTC)})
