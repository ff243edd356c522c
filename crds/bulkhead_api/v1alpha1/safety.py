"""What is done about suspicious and harmful input."""

from typing import Annotated, Literal

from pydantic import Field

from bulkhead_api.schema import ApiModel
from bulkhead_api.v1alpha1.patterns import DNS_LABEL


class Moderation(ApiModel):
    """Asks a provider about every input message before any model sees it."""

    provider: Annotated[
        str,
        Field(
            description="One of `spec.models.providers`, with the endpoint /moderations.",
            min_length=1,
            max_length=40,
            pattern=DNS_LABEL,
        ),
    ]
    model: Annotated[
        str | None,
        Field(
            description="The provider's name of the moderation model; its default when absent.",
            min_length=1,
            max_length=256,
            pattern=r"^\S+$",
        ),
    ] = None
    on_failure: Annotated[
        Literal["Refuse", "Allow"],
        Field(description="What a message gets when the provider cannot be asked."),
    ] = "Refuse"


class Safety(ApiModel):
    """What is done about suspicious and harmful input."""

    injection: Annotated[
        Literal["Flag", "Refuse"],
        Field(
            description=(
                "What text gets that tries to give an agent other orders: Flag reports an event, "
                "Refuse also ends the request. The signs are heuristics."
            )
        ),
    ] = "Flag"
    moderation: Annotated[
        Moderation | None, Field(description="Moderation by a provider; off when absent.")
    ] = None
