"""Conditions as every kind reports them, after the Kubernetes API conventions and kstatus."""

from typing import Annotated, Literal

from pydantic import Field

from bulkhead_api.schema import StatusModel, list_map


class Condition(StatusModel):
    """One observed fact about the object."""

    type: Annotated[
        str, Field(description="What the condition is about, for example Ready.", max_length=316)
    ]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Whether it holds.")]
    reason: Annotated[
        str, Field(description="One CamelCase word for machines; part of the API.", max_length=1024)
    ]
    message: Annotated[str, Field(description="One sentence for people.", max_length=32768)]
    last_transition_time: Annotated[
        str,
        Field(description="When status last changed.", json_schema_extra={"format": "date-time"}),
    ]
    observed_generation: Annotated[
        int | None, Field(description="The generation the condition was computed from.", ge=0)
    ] = None


class CommonStatus(StatusModel):
    """What every status has."""

    observed_generation: Annotated[
        int,
        Field(
            description=(
                "The generation that this status speaks of. A fresh object shows -1, so that "
                "nothing reads it as healthy before the operator has seen it."
            ),
        ),
    ] = -1
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            description="Ready, named facts, and Reconciling or Stalled while they are true.",
            max_length=16,
            json_schema_extra=list_map("type"),
        ),
    ] = ()
