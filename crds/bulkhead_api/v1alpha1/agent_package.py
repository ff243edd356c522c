"""AgentPackage: a version of one or more agents, delivered like software."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from bulkhead_api.schema import (
    LIST_ATOMIC,
    ApiModel,
    Column,
    CustomResource,
    list_map,
    rule,
    rules,
)
from bulkhead_api.v1alpha1.agents import Agent, HttpTool
from bulkhead_api.v1alpha1.package_dependencies import (
    Dependency,
    ExecutionConfig,
    RuntimeRequirements,
)
from bulkhead_api.v1alpha1.package_health import HealthCheck
from bulkhead_api.v1alpha1.package_image import PackageImage
from bulkhead_api.v1alpha1.package_rollout import (
    CheckSummary,
    Revision,
    Rollout,
    RolloutStatus,
    Waiting,
)
from bulkhead_api.v1alpha1.package_source import PackageSource
from bulkhead_api.v1alpha1.patterns import SEMVER
from bulkhead_api.v1alpha1.status import CommonStatus

__all__ = ["Agent", "AgentPackage", "AgentPackageSpec", "AgentPackageStatus", "HttpTool"]

_SAME_CONTENT = (
    "self.agents == oldSelf.agents && self.tools == oldSelf.tools && "
    "self.dependencies == oldSelf.dependencies && self.healthChecks == oldSelf.healthChecks && "
    "self.executionConfig == oldSelf.executionConfig && "
    "(has(self.source) ? has(oldSelf.source) && self.source == oldSelf.source "
    ": !has(oldSelf.source)) && "
    "(has(self.image) ? has(oldSelf.image) && self.image == oldSelf.image "
    ": !has(oldSelf.image))"
)


class AgentPackageSpec(ApiModel):
    """What one version holds, and how it takes over from the former one."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                f"self.version != oldSelf.version || ({_SAME_CONTENT})",
                "must change together with `spec.agents`, `spec.tools`, `spec.source`, "
                "`spec.image`, `spec.dependencies`, `spec.healthChecks` and "
                "`spec.executionConfig`: the content of a version is immutable; give the new "
                "content a new version",
                value="self.version",
                field_path=".version",
            ),
            rule(
                "(self.agents.size() > 0) != has(self.source)",
                "must be given unless `spec.source` is, and only then: the agents of a version "
                "have one place",
                field_path=".agents",
            ),
            rule(
                "self.tools.size() == 0 || !has(self.source)",
                "must be empty with `spec.source`, which holds the tools too",
                field_path=".tools",
            ),
            rule(
                "!has(self.image) || !has(self.source)",
                "must not be given with `spec.source`: the agents of an image are written here, "
                "so that their names are known before it runs",
                field_path=".image",
            ),
        )
    )

    version: Annotated[
        str,
        Field(
            description="Semantic version of this content, for example 1.4.0.",
            min_length=5,
            max_length=64,
            pattern=SEMVER,
        ),
    ]
    agents: Annotated[
        tuple[Agent, ...],
        Field(
            description="The agents of this version; empty when `spec.source` holds them.",
            max_length=16,
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    tools: Annotated[
        tuple[HttpTool, ...],
        Field(
            description="Tools that this version brings for its agents.",
            max_length=32,
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    source: Annotated[
        PackageSource | None,
        Field(description="Where agents and tools lie when they are not written here."),
    ] = None
    image: Annotated[
        PackageImage | None,
        Field(
            description=(
                "Image that answers for the agents of this version, in pods of its own; a model "
                "answers when absent."
            ),
        ),
    ] = None
    dependencies: Annotated[
        tuple[Dependency, ...],
        Field(
            description="What must be there for the version to work.",
            max_length=32,
            json_schema_extra=list_map("type", "name"),
        ),
    ] = ()
    runtime_requirements: Annotated[
        RuntimeRequirements, Field(description="What the runtime must offer.")
    ] = RuntimeRequirements()
    execution_config: Annotated[
        ExecutionConfig,
        Field(description="How all its agents run, where an agent does not say it more narrowly."),
    ] = ExecutionConfig()
    health_checks: Annotated[
        tuple[HealthCheck, ...],
        Field(
            description=(
                "What must hold before the version gets traffic, and before it gets it back."
            ),
            max_length=16,
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    rollout: Annotated[
        Rollout, Field(description="How the version takes over from the former one.")
    ] = Rollout()
    revision_history_limit: Annotated[
        int,
        Field(
            description="Versions that are kept to go back to, those in use included.",
            ge=1,
            le=50,
        ),
    ] = 10
    suspend: Annotated[
        bool,
        Field(
            description=(
                "Holds a rollout where it stands and begins none; what is in service stays."
            )
        ),
    ] = False


class VersionInService(ApiModel):
    """A version that the runtime has loaded."""

    version: Annotated[str, Field(description="The version.", max_length=64)]
    weight: Annotated[
        int, Field(description="Percent of new sessions that begin with it.", ge=0, le=100)
    ]


class AgentPackageStatus(CommonStatus):
    """What the operator saw."""

    organization: Annotated[
        str | None,
        Field(description="Organization that the namespace belongs to.", max_length=63),
    ] = None
    state: Annotated[
        Literal["pending", "active", "degraded"] | None,
        Field(description="The conditions in one word, for people; no program should read it."),
    ] = None
    version: Annotated[
        str | None, Field(description="Version that new sessions begin with.", max_length=64)
    ] = None
    checksum: Annotated[
        str | None, Field(description="SHA-256 of that version's content.", max_length=71)
    ] = None
    versions: Annotated[
        tuple[VersionInService, ...],
        Field(
            description="Versions that the runtime has loaded; older ones serve their sessions.",
            max_length=16,
            json_schema_extra=list_map("version"),
        ),
    ] = ()
    rollout: Annotated[
        RolloutStatus | None, Field(description="Where the present or last rollout stands.")
    ] = None
    waiting: Annotated[
        Waiting | None,
        Field(
            description=(
                "Since when the version waits for a package that does not exist; after "
                "`spec.rollout.progressDeadlineSeconds` a person must act."
            )
        ),
    ] = None
    checks: Annotated[
        tuple[CheckSummary, ...],
        Field(
            description="What the health checks said last.",
            max_length=64,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()
    unmet_optional: Annotated[
        tuple[Annotated[str, Field(max_length=512)], ...],
        Field(
            description="Optional dependencies that are not there, and why.",
            max_length=32,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()
    history: Annotated[
        tuple[Revision, ...],
        Field(
            description="The newest versions that the package had, newest first.",
            max_length=10,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()


class AgentPackage(CustomResource):
    """A version of one or more agents; changing spec.version rolls it out beside the former."""

    kind_name: ClassVar[str] = "AgentPackage"
    plural: ClassVar[str] = "agentpackages"
    singular: ClassVar[str] = "agentpackage"
    short_name: ClassVar[str] = "agpkg"
    scope: ClassVar[str] = "Namespaced"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("Version", ".spec.version"),
        Column("In service", ".status.version"),
        Column("Rollout", ".status.rollout.phase"),
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        Column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
        Column("Age", ".metadata.creationTimestamp", type="date"),
        Column("Organization", ".status.organization", priority=1),
        Column("Checksum", ".status.checksum", priority=1),
        Column("Message", ".status.conditions[?(@.type=='Ready')].message", priority=1),
    )
    object_rules = (
        rule(
            "self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",
            "`metadata.name` must be a DNS label of at most 63 characters (a-z, 0-9, '-'): "
            "choose a shorter name without dots",
        ),
    )

    spec: Annotated[AgentPackageSpec, Field(description="What this version holds.")]
    status: Annotated[AgentPackageStatus, Field(description="What the operator saw.")] = (
        AgentPackageStatus()
    )
