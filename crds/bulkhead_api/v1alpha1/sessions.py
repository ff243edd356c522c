"""How long conversations live and how much of them a request carries."""

from typing import Annotated

from pydantic import ConfigDict, Field

from bulkhead_api.schema import ApiModel, rule, rules
from bulkhead_api.v1alpha1.patterns import MODEL_NAME


class Compaction(ApiModel):
    """Older turns become a bounded summary."""

    enabled: Annotated[bool, Field(description="Whether older turns are summarized.")] = True
    turns: Annotated[
        int, Field(description="Most turns that stay word for word.", ge=2, le=1000)
    ] = 20
    summary_characters: Annotated[
        int, Field(description="Most characters of the summary.", ge=256, le=65536)
    ] = 4000
    model: Annotated[
        str | None,
        Field(
            description="Model that writes the summary, as PROVIDER/MODEL; the agent's own when "
            "absent.",
            max_length=256,
            pattern=MODEL_NAME,
        ),
    ] = None


class Cleanup(ApiModel):
    """What leaves a request when the model's context window fills up, oldest first."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.targetPercent < self.startPercent",
                "must be less than `spec.sessions.cleanup.startPercent`: lower the one or raise "
                "the other",
                field_path=".targetPercent",
            ),
        )
    )

    start_percent: Annotated[
        int,
        Field(description="Percent of the context window at which cleanup begins.", ge=10, le=100),
    ] = 90
    target_percent: Annotated[
        int,
        Field(description="Percent of the context window that cleanup comes down to.", ge=5, le=95),
    ] = 60
    keep_messages: Annotated[
        int,
        Field(
            description="Newest messages that stay, unless they alone are too much.", ge=1, le=100
        ),
    ] = 5


class Sessions(ApiModel):
    """How long conversations live and how much of them a request carries."""

    expire_after_seconds: Annotated[
        int | None,
        Field(
            description="Seconds without activity after which a session is archived; never when "
            "absent.",
            ge=60,
            le=315360000,
        ),
    ] = None
    compaction: Annotated[
        Compaction, Field(description="Older turns become a bounded summary.")
    ] = Compaction()
    cleanup: Annotated[
        Cleanup, Field(description="What leaves a request when the context window fills up.")
    ] = Cleanup()
