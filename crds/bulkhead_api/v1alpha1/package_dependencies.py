"""What a package version depends on, and what it asks of the runtime that serves it."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from bulkhead_api.schema import LIST_ATOMIC, ApiModel, rule, rules
from bulkhead_api.v1alpha1.agents import Agent
from bulkhead_api.v1alpha1.budgets import Allowance
from bulkhead_api.v1alpha1.package_health import DependencyCheck
from bulkhead_api.v1alpha1.patterns import DEPENDENCY_NAME, VERSION_RANGE

_RANGE = "as Helm and Flux write it: '^1.4', '>=3 <4', '~1.2.3', '1.x' or '1.4.2'"


class Installation(ApiModel):
    """A command that prepares a dependency before the version gets traffic."""

    command: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...],
        Field(
            description=(
                "Program and arguments, run without a shell in the runtime's image, in a Job of "
                "the organization's namespace. It may be run more than once."
            ),
            min_length=1,
            max_length=32,
            json_schema_extra=LIST_ATOMIC,
        ),
    ]
    timeout_seconds: Annotated[
        int,
        Field(
            description=(
                "Seconds that it may take, its repetitions included; 300 when absent. All steps of "
                "a version share the sum."
            ),
            ge=1,
            le=3600,
        ),
    ] = 300


class Dependency(ApiModel):
    """Something that must be there for the version to work."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.installation) || !has(self.required) || self.required",
                "must not be given for what is not required: nobody waits for that",
                field_path=".installation",
            ),
        )
    )

    type: Annotated[
        Literal["Integration", "Library", "Runtime", "Package"],
        Field(
            description=(
                "Integration is one of `spec.integrations` of the organization, Library a Python "
                "distribution of the runtime's image, Runtime 'bulkhead' or 'python', Package "
                "another AgentPackage of the namespace."
            )
        ),
    ]
    name: Annotated[
        str,
        Field(
            description="Name of the integration, distribution, runtime or package.",
            min_length=1,
            max_length=63,
            pattern=DEPENDENCY_NAME,
        ),
    ]
    version: Annotated[
        str,
        Field(
            description=f"Versions that will do, {_RANGE}.",
            min_length=1,
            max_length=128,
            pattern=VERSION_RANGE,
        ),
    ] = "*"
    required: Annotated[
        bool,
        Field(
            description=(
                "Whether the version is kept from traffic without it; otherwise it is reported "
                "in `status.unmetOptional`."
            )
        ),
    ] = True
    health_check: Annotated[
        DependencyCheck | None,
        Field(description="How to see that it works; not looked at when absent."),
    ] = None
    installation: Annotated[
        Installation | None,
        Field(description="What must end well before the version gets traffic."),
    ] = None


class RuntimeRequirements(ApiModel):
    """What the runtime must offer; a version that asks for more is kept from traffic."""

    memory_mb: Annotated[
        int | None,
        Field(
            alias="memoryMB",
            description="Mebibytes that `spec.limits.maxMemoryMB` must allow at least.",
            ge=1,
            le=1048576,
        ),
    ] = None
    cpu_millicores: Annotated[
        int | None,
        Field(
            description="Thousandths of a core that `spec.limits.maxCPUPercent` must allow.",
            ge=1,
            le=64000,
        ),
    ] = None
    python: Annotated[
        str | None,
        Field(
            description=f"Versions of Python that will do, {_RANGE}.",
            min_length=1,
            max_length=128,
            pattern=VERSION_RANGE,
        ),
    ] = None
    runtime: Annotated[
        str | None,
        Field(
            description=f"Versions of Bulkhead's runtime that will do, {_RANGE}.",
            min_length=1,
            max_length=128,
            pattern=VERSION_RANGE,
        ),
    ] = None


class ExecutionConfig(ApiModel):
    """How all agents of the version run, where an agent does not say it more narrowly."""

    timeout_seconds: Annotated[
        int | None, Field(description="Seconds for one message.", ge=1, le=3600)
    ] = None
    retries: Annotated[
        int | None,
        Field(
            description="How often a message's first model call is made again; 0 when absent.",
            ge=0,
            le=5,
        ),
    ] = None
    budget: Annotated[
        Allowance, Field(description="What one request to any of its agents may use.")
    ] = Allowance()

    def applied_to(self, agent: Agent) -> Agent:
        """Return the agent under these bounds; its own hold where they are narrower."""
        return agent.model_copy(
            update={
                "timeout_seconds": _lower(agent.timeout_seconds, self.timeout_seconds),
                "retries": _lower(agent.retries, self.retries),
                "budget": agent.budget.within(self.budget),
            }
        )


def _lower(one: int | None, other: int | None) -> int | None:
    given = [value for value in (one, other) if value is not None]
    return min(given, default=None)
