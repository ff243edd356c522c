"""How a version takes over from the former one, and when it is taken back."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from bulkhead_api.schema import LIST_ATOMIC, ApiModel, StatusModel, list_map, rule, rules
from bulkhead_api.v1alpha1.patterns import MONEY

Phase = Literal["Load", "HealthCheck", "Shift", "Complete", "Restore", "Restored"]


class RolloutStep(ApiModel):
    """A share of new sessions, and what has to happen before the next."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!(has(self.approval) && self.approval && has(self.pauseSeconds))",
                "`pauseSeconds` must not be given together with `approval`: a person decides "
                "when it goes on",
            ),
        )
    )

    weight: Annotated[
        int, Field(description="Percent of new sessions that begin with the version.", ge=1, le=99)
    ]
    pause_seconds: Annotated[
        int | None,
        Field(
            description="Seconds that the share is held at least; 0 when absent.",
            ge=0,
            le=604800,
        ),
    ] = None
    approval: Annotated[
        bool,
        Field(
            description=(
                "Whether a person must let it go on, by the annotation "
                "bulkhead.dev/approve-step: NUMBER OF THE STEP, counted from 1."
            )
        ),
    ] = False


class Analysis(ApiModel):
    """Bounds that the new version must keep in each step; what is absent is not looked at."""

    max_error_percent: Annotated[
        int | None,
        Field(description="Executions that may fail, in percent.", ge=0, le=100),
    ] = None
    max_latency_seconds: Annotated[
        int | None,
        Field(description="Seconds within which 95 of 100 executions must end.", ge=1, le=3600),
    ] = None
    max_cost_per_run: Annotated[
        str | None,
        Field(
            description="US dollars that an execution may cost on average, as decimal text.",
            max_length=16,
            pattern=MONEY,
        ),
    ] = None
    max_tool_denial_percent: Annotated[
        int | None,
        Field(description="Tool calls that policy may deny, in percent.", ge=0, le=100),
    ] = None
    minimum_executions: Annotated[
        int,
        Field(
            description=(
                "Executions in a step before it is judged; with 0 a step without traffic passes."
            ),
            ge=0,
            le=1_000_000,
        ),
    ] = 0


class Rollout(ApiModel):
    """How the version takes over."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.strategy == 'Canary' || self.steps.size() == 0",
                "must be empty with strategy 'AllAtOnce': take 'Canary' to go step by step",
                field_path=".steps",
            ),
            rule(
                "self.strategy == 'AllAtOnce' || self.steps.size() > 0",
                "must have at least one step with strategy 'Canary'",
                field_path=".steps",
            ),
        )
    )

    strategy: Annotated[
        Literal["AllAtOnce", "Canary"],
        Field(
            description=(
                "AllAtOnce gives the version all new sessions once its health checks pass, "
                "Canary the shares of `steps` one after the other."
            )
        ),
    ] = "AllAtOnce"
    steps: Annotated[
        tuple[RolloutStep, ...],
        Field(
            description="Shares of new sessions, in order; after the last it gets all of them.",
            max_length=16,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()
    analysis: Annotated[Analysis, Field(description="Bounds on what is measured in each step.")] = (
        Analysis()
    )
    progress_deadline_seconds: Annotated[
        int,
        Field(
            description=(
                "Seconds that a phase or step may take beyond its own pause before the version "
                "is taken back."
            ),
            ge=10,
            le=86400,
        ),
    ] = 600
    automatic_rollback: Annotated[
        bool,
        Field(
            description=(
                "Whether a step that breaks its bounds is taken back at once; otherwise it is "
                "held, and a person decides."
            )
        ),
    ] = True
    drain_deadline_seconds: Annotated[
        int,
        Field(
            description=(
                "Seconds after which sessions of a version that left service go on with the "
                "version in service, so that the old one can be unloaded."
            ),
            ge=0,
            le=31_536_000,
        ),
    ] = 86400


class VersionIdentity(StatusModel):
    """A version and the checksum of its content."""

    version: Annotated[str, Field(description="The version.", max_length=64)]
    checksum: Annotated[str, Field(description="SHA-256 of its content.", max_length=71)]


class RolloutFailure(StatusModel):
    """Why a version was taken back."""

    reason: Annotated[str, Field(description="One CamelCase word.", max_length=64)]
    message: Annotated[str, Field(description="One sentence for people.", max_length=2048)]


class ProcessCount(StatusModel):
    """What one process of the runtime had counted of the target when the step began."""

    process: Annotated[str, Field(description="The pod and when it began.", max_length=128)]
    executions: Annotated[int, Field(description="Executions that ended.", ge=0)] = 0
    failures: Annotated[int, Field(description="Those of them that failed.", ge=0)] = 0
    slow: Annotated[int, Field(description="Those that took too long.", ge=0)] = 0
    cost: Annotated[str, Field(description="US dollars as decimal text.", max_length=32)] = "0"
    tool_calls: Annotated[int, Field(description="Tool calls.", ge=0)] = 0
    tool_denials: Annotated[int, Field(description="Tool calls that were denied.", ge=0)] = 0
    crashes: Annotated[int, Field(description="Executions that ended their process.", ge=0)] = 0


class RolloutStatus(StatusModel):
    """Where a rollout stands; the operator goes on from here after a restart."""

    phase: Annotated[Phase, Field(description="Where it stands.")]
    target: Annotated[VersionIdentity, Field(description="The version that takes over.")]
    origin: Annotated[
        VersionIdentity | None,
        Field(description="The version that serves until then, and again if it fails."),
    ] = None
    started_at: Annotated[int, Field(description="When it began, Unix seconds.", ge=0)] = 0
    since: Annotated[int, Field(description="When the phase or step began, Unix seconds.", ge=0)]
    step: Annotated[int, Field(description="Index of the step, from 0.", ge=0)] = 0
    weight: Annotated[
        int, Field(description="Percent of new sessions that begin with the target.", ge=0, le=100)
    ] = 0
    approved: Annotated[
        int, Field(description="The step, from 1, up to which a person let it go on.", ge=0)
    ] = 0
    waits_for_approval: Annotated[
        bool, Field(description="Whether only a person lets it go on.")
    ] = False
    failure: Annotated[
        RolloutFailure | None, Field(description="Why the target was taken back.")
    ] = None
    retry: Annotated[
        str, Field(description="The last bulkhead.dev/retry that was followed.", max_length=256)
    ] = ""
    suspended_at: Annotated[
        int | None, Field(description="When it was suspended, Unix seconds.", ge=0)
    ] = None
    rollback_to: Annotated[
        str,
        Field(description="The last bulkhead.dev/rollback-to that was followed.", max_length=256),
    ] = ""
    instead_of: Annotated[
        VersionIdentity | None,
        Field(
            description=(
                "What the spec named when a person went back; once it names another version, "
                "the annotation does not hold any more."
            )
        ),
    ] = None
    baseline: Annotated[
        tuple[ProcessCount, ...],
        Field(
            description="What was counted when the step began; only what came since is judged.",
            max_length=64,
            json_schema_extra=list_map("process"),
        ),
    ] = ()


class Revision(StatusModel):
    """A version that the package had, kept so that it can be gone back to."""

    revision: Annotated[int, Field(description="Grows with every version.", ge=0)]
    version: Annotated[str, Field(description="The version.", max_length=64)]
    checksum: Annotated[str, Field(description="SHA-256 of its content.", max_length=71)]
    at: Annotated[
        str,
        Field(description="When its rollout began.", json_schema_extra={"format": "date-time"}),
    ] = "1970-01-01T00:00:00Z"
    cause: Annotated[
        str, Field(description="What asked for it: Spec, Rollback or Retry.", max_length=32)
    ] = "Spec"
    by: Annotated[
        str,
        Field(
            description=(
                "Field manager that asked for it, as the client called itself: unauthenticated. "
                "Who it was stands in the cluster's audit log."
            ),
            max_length=160,
        ),
    ] = ""
    outcome: Annotated[
        str,
        Field(
            description="InProgress, Succeeded, Superseded, or why it was taken back.",
            max_length=64,
        ),
    ] = "InProgress"


class Waiting(VersionIdentity):
    """A version whose dependency on another package is not there at all."""

    since: Annotated[int, Field(description="Since when, Unix seconds.", ge=0)]


class CheckSummary(StatusModel):
    """What a health check said last."""

    name: Annotated[str, Field(description="Name of the check.", max_length=128)]
    passed: Annotated[bool, Field(description="Whether it passed.")]
    message: Annotated[str, Field(description="What was seen.", max_length=512)] = ""
