"""How long what is only there to be looked at is kept."""

from typing import Annotated

from pydantic import Field

from bulkhead_api.schema import ApiModel


class Records(ApiModel):
    """How much of events and the ledger is kept; sessions have bounds of their own."""

    event_days: Annotated[
        int, Field(description="Days after which events are removed.", ge=1, le=3650)
    ] = 90
    max_events: Annotated[
        int,
        Field(
            description=(
                "Events beyond this number are removed, oldest first, within an hour. The embedded "
                "store keeps what fits into its share of the volume, at most 500,000."
            ),
            ge=10_000,
            le=1_000_000_000,
        ),
    ] = 5_000_000
    ledger_days: Annotated[
        int,
        Field(
            description=(
                "Days after which the ledger's lines become sums by day, agent, model, principal "
                "and type, which are kept: totals never shrink, and no budget begins anew."
            ),
            ge=35,
            le=3650,
        ),
    ] = 400
