"""How long what is only there to be looked at is kept."""

from typing import Annotated

from pydantic import Field

from bulkhead_api.schema import ApiModel


class Records(ApiModel):
    """How long events and the ledger's lines are kept; sessions have bounds of their own."""

    event_days: Annotated[
        int, Field(description="Days after which events are removed.", ge=1, le=3650)
    ] = 90
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
