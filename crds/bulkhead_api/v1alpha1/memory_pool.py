"""MemoryPool: how much an organization's agents may remember, and for how long."""

from typing import Annotated, ClassVar

from pydantic import Field

from bulkhead_api.names import DEFAULT_POOL
from bulkhead_api.schema import ApiModel, Column, CustomResource, rule
from bulkhead_api.v1alpha1.status import CommonStatus


class MemoryPoolSpec(ApiModel):
    """Bounds of the pool."""

    max_memory_mb: Annotated[
        int,
        Field(
            alias="maxMemoryMB",
            description=(
                "Mebibytes that the organization's conversations may take. A turn that would go "
                "beyond is refused before it runs."
            ),
            ge=1,
            le=1048576,
        ),
    ] = 256
    default_retention_seconds: Annotated[
        int | None,
        Field(
            description=(
                "Seconds after its last activity that a conversation is removed; kept for ever "
                "when absent."
            ),
            ge=60,
            le=315360000,
        ),
    ] = None


class MemoryPoolStatus(CommonStatus):
    """What the operator saw."""

    organization: Annotated[
        str | None,
        Field(description="Organization that the namespace belongs to.", max_length=63),
    ] = None
    used_mb: Annotated[
        int | None,
        Field(alias="usedMB", description="Mebibytes in use, rounded up.", ge=0),
    ] = None
    used_percent: Annotated[
        int | None, Field(description="Share of maxMemoryMB in use, rounded down.", ge=0)
    ] = None
    sessions: Annotated[
        int | None, Field(description="Conversations held, to two significant digits.", ge=0)
    ] = None


class MemoryPool(CustomResource):
    """How much an organization's agents may remember, and for how long."""

    kind_name: ClassVar[str] = "MemoryPool"
    plural: ClassVar[str] = "memorypools"
    singular: ClassVar[str] = "memorypool"
    short_name: ClassVar[str] = "mempool"
    scope: ClassVar[str] = "Namespaced"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        Column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
        Column("Max MB", ".spec.maxMemoryMB", type="integer"),
        Column("Used MB", ".status.usedMB", type="integer"),
        Column("Used %", ".status.usedPercent", type="integer"),
        Column("Sessions", ".status.sessions", type="integer"),
        Column("Age", ".metadata.creationTimestamp", type="date"),
        Column("Organization", ".status.organization", priority=1),
    )
    object_rules = (
        rule(
            f"self.metadata.name == '{DEFAULT_POOL}'",
            f"`metadata.name` must be '{DEFAULT_POOL}': an organization has one pool of that name",
        ),
    )

    spec: Annotated[MemoryPoolSpec, Field(description="Bounds of the pool.")] = MemoryPoolSpec()
    status: Annotated[MemoryPoolStatus, Field(description="What the operator saw.")] = (
        MemoryPoolStatus()
    )
