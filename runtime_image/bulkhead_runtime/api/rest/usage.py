"""What was used: sums over the ledger by any grouping, and the ledger itself, line by line."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel

from bulkhead_runtime.api import scopes
from bulkhead_runtime.api.rest.parameters import Cursor, Limit, moment, needs
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.runtime import Runtime
from bulkhead_runtime.store.records import UsageGroup, UsageRow
from bulkhead_runtime.store.spending import LedgerLine

DEFAULT_DAYS = 30

Since = Annotated[
    AwareDatetime | None, Query(description=f"From when, {DEFAULT_DAYS} days ago when absent.")
]
Until = Annotated[AwareDatetime | None, Query(description="Until when, now when absent.")]
By = Annotated[
    list[UsageGroup], Query(min_length=1, max_length=5, description="What sums are grouped by.")
]
OfPrincipal = Annotated[
    str | None, Query(max_length=256, pattern=r"^[ -~]*$", description="Of one principal only.")
]


class Sums(BaseModel):
    """Tokens and US dollars; `uncosted_uses` counts the uses whose price is unknown."""

    uses: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cost: str
    uncosted_uses: int


class UsageRowView(Sums):
    """What one group used; groupings that were not asked for are null."""

    day: str | None = None
    agent: str | None = None
    model: str | None = None
    principal: str | None = None
    type: str | None = None


class UsageReport(BaseModel):
    """Sums over [since, until), whose totals are the sums of the rows."""

    object: Literal["list"] = "list"
    since: datetime
    until: datetime
    by: list[UsageGroup]
    data: list[UsageRowView]
    total: Sums


class LedgerLineView(BaseModel):
    """One use; `cost` is null where no price is known."""

    id: str
    type: str
    at: datetime
    principal: str
    agent: str
    package: str
    version: str
    model: str
    tool: str | None
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cost: str | None
    session_id: str | None
    job_id: str | None
    run_id: str | None


class LedgerPageView(BaseModel):
    """One page of uses, newest first."""

    data: list[LedgerLineView]
    next_cursor: str | None
    has_more: bool


def routes(runtime: Runtime) -> APIRouter:
    """Return the routes over one runtime."""
    router = APIRouter(prefix="/v1/usage", tags=["usage"], dependencies=[needs(scopes.USAGE_READ)])

    @router.get("")
    async def report_usage(
        by: By = ["day"],  # noqa: B006 (FastAPI's way to say a default; never changed)
        since: Since = None,
        until: Until = None,
        principal: OfPrincipal = None,
    ) -> UsageReport:
        """Sum what was used by day, agent, model, principal or type of use."""
        start, end = _span(since, until)
        groups = tuple(dict.fromkeys(by))
        rows = await runtime.store.usage_by(
            groups, since=_ms(start), until=_ms(end), principal=principal
        )
        return UsageReport(
            since=start,
            until=end,
            by=list(groups),
            data=[_row(groups, row) for row in rows],
            total=_sums(rows),
        )

    @router.get("/ledger")
    async def list_ledger(
        since: Since = None,
        until: Until = None,
        principal: OfPrincipal = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> LedgerPageView:
        """List every single use, newest first."""
        start, end = _span(since, until)
        page = await runtime.store.ledger(
            since=_ms(start), until=_ms(end), principal=principal, limit=limit, cursor=cursor
        )
        return LedgerPageView(
            data=[_line(line) for line in page.items],
            next_cursor=page.next_cursor,
            has_more=page.next_cursor is not None,
        )

    return router


def _span(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    end = until or datetime.now(UTC)
    try:
        start = since or end - timedelta(days=DEFAULT_DAYS)
        ordered = start.timestamp() < end.timestamp()
    except (OverflowError, ValueError):
        ordered = False
    if not ordered:
        raise Problem(422, "invalid_request", "`since` must be before `until`.", field="since")
    return start, end


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _row(groups: tuple[UsageGroup, ...], row: UsageRow) -> UsageRowView:
    names = dict(zip(groups, row.group, strict=True))
    return UsageRowView(**_sums((row,)).model_dump(), **names)


def _sums(rows: Iterable[UsageRow]) -> Sums:
    listed = tuple(rows)
    input_tokens = sum(row.input_tokens for row in listed)
    output_tokens = sum(row.output_tokens for row in listed)
    return Sums(
        uses=sum(row.uses for row in listed),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=input_tokens + output_tokens,
        cost=format(sum((row.cost for row in listed), Decimal(0)), "f"),
        uncosted_uses=sum(row.uncosted for row in listed),
    )


def _line(line: LedgerLine) -> LedgerLineView:
    return LedgerLineView(
        id=line.id,
        type=line.type,
        at=moment(line.at),
        principal=line.principal,
        agent=line.agent,
        package=line.package,
        version=line.version,
        model=line.model,
        tool=line.tool,
        input_tokens=line.input_tokens,
        output_tokens=line.output_tokens,
        total_tokens=line.input_tokens + line.output_tokens,
        cost=None if line.cost is None else format(line.cost, "f"),
        session_id=line.session_id,
        job_id=line.job_id,
        run_id=line.run_id,
    )
