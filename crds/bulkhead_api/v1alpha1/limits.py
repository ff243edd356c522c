"""Bounds of an organization: the kernel enforces memory and CPU, the runtime the rest."""

from typing import Annotated

from pydantic import ConfigDict, Field

from bulkhead_api.schema import LIST_SET, ApiModel, rule, rules
from bulkhead_api.v1alpha1.patterns import GLOB


class Requests(ApiModel):
    """What the scheduler reserves for one replica."""

    cpu_millicores: Annotated[
        int, Field(description="Thousandths of a CPU core reserved per replica.", ge=10, le=64000)
    ] = 250
    memory_mb: Annotated[
        int,
        Field(
            alias="memoryMB",
            description="Mebibytes of memory reserved per replica.",
            ge=32,
            le=1048576,
        ),
    ] = 128


class PackageLimits(ApiModel):
    """What all pods of packages with an image of their own may take together."""

    pods: Annotated[
        int,
        Field(
            description=(
                "Pods of packages with `spec.image`, one more for each version while it is "
                "replaced included; 0 allows no such package."
            ),
            ge=0,
            le=100,
        ),
    ] = 0
    memory_mb: Annotated[
        int,
        Field(
            alias="memoryMB", description="Mebibytes of memory of them all.", ge=0, le=10_485_760
        ),
    ] = 0
    cpu_millicores: Annotated[
        int, Field(description="Thousandths of a CPU core of them all.", ge=0, le=640_000)
    ] = 0
    images: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=256, pattern=GLOB)], ...],
        Field(
            description=(
                "Images that may run ('*' for any characters), for example "
                "registry.example.com/agents/*."
            ),
            max_length=32,
            json_schema_extra=LIST_SET,
        ),
    ] = ("*",)


class Limits(ApiModel):
    """Bounds that hold for the organization; beyond one a request waits or is refused."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.requests.memoryMB <= self.maxMemoryMB",
                "must be at most `spec.limits.maxMemoryMB`: lower `spec.limits.requests.memoryMB` "
                "or raise `spec.limits.maxMemoryMB`",
                field_path=".requests.memoryMB",
            ),
            rule(
                "self.requests.cpuMillicores <= self.maxCPUPercent * 10",
                "must be at most 10 times `spec.limits.maxCPUPercent` (100 percent are 1000 "
                "millicores): lower `spec.limits.requests.cpuMillicores` or raise "
                "`spec.limits.maxCPUPercent`",
                field_path=".requests.cpuMillicores",
            ),
        )
    )

    max_concurrent_agents: Annotated[
        int, Field(description="Agent executions that run at the same time.", ge=1, le=1000)
    ] = 20
    max_memory_mb: Annotated[
        int,
        Field(
            alias="maxMemoryMB",
            description=(
                "Mebibytes of memory per replica, enforced by the kernel. At least 512 when a "
                "provider of type LiteLLM is configured."
            ),
            ge=128,
            le=1048576,
        ),
    ] = 512
    max_cpu_percent: Annotated[
        int,
        Field(
            alias="maxCPUPercent",
            description=(
                "CPU per replica in percent of one core, enforced by the kernel: 100 is one "
                "core, 150 one and a half."
            ),
            ge=10,
            le=6400,
        ),
    ] = 100
    max_execution_time_seconds: Annotated[
        int,
        Field(
            description="Seconds after which an execution is ended with an error.", ge=1, le=3600
        ),
    ] = 300
    max_queue_size: Annotated[
        int,
        Field(
            description=(
                "Executions that wait for a place among maxConcurrentAgents; one more is refused "
                "with 429 and Retry-After. 0 refuses at once."
            ),
            ge=0,
            le=10000,
        ),
    ] = 100
    rate_limit_per_minute: Annotated[
        int, Field(description="Executions started per minute; more are refused.", ge=1, le=1000000)
    ] = 600
    max_input_characters: Annotated[
        int, Field(description="Characters of one input message.", ge=1, le=1000000)
    ] = 10000
    max_parallel_sessions: Annotated[
        int,
        Field(description="Sessions with a turn under way, over all replicas.", ge=1, le=100_000),
    ] = 100
    max_sessions_per_principal: Annotated[
        int | None,
        Field(
            description=(
                "Sessions that one principal may have; only the pool bounds them when absent."
            ),
            ge=1,
            le=10_000_000,
        ),
    ] = None
    session_creations_per_minute: Annotated[
        int, Field(description="Sessions that may begin per minute.", ge=1, le=1_000_000)
    ] = 600
    max_messages_per_session: Annotated[
        int, Field(description="Messages that one session may hold.", ge=10, le=1_000_000)
    ] = 10000
    requests: Annotated[
        Requests, Field(description="What the scheduler reserves for one replica.")
    ] = Requests()
    packages: Annotated[
        PackageLimits,
        Field(description="What packages with an image of their own may take, beside replicas."),
    ] = PackageLimits()
