"""A configuration as the rest of the runtime sees it: complete, checked, immutable.

It is replaced as a whole, so that one request never sees half of a change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from bulkhead_api.runtime_config import PackageDocument, RuntimeConfig
from bulkhead_api.runtime_state import Refusal
from bulkhead_api.v1alpha1.agent_package import Agent, HttpTool
from bulkhead_api.v1alpha1.organization_runtime import Limits
from bulkhead_api.v1alpha1.package_dependencies import Dependency
from bulkhead_api.v1alpha1.package_health import HealthCheck
from bulkhead_api.v1alpha1.package_image import PackageImage

MIN_BODY_BYTES = 1024 * 1024
BYTES_PER_CHARACTER = 12
"""A character outside the basic plane, escaped in JSON as a surrogate pair."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one package, loaded; `weight` is its percentage of new sessions.

    `check` names one run of its health checks that is asked for, empty where none is. `endpoint`
    is where its `image` answers; a version without one is answered for by models.
    """

    package: str
    version: str
    checksum: str
    weight: int
    agents: Mapping[str, Agent]
    tools: tuple[HttpTool, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    health_checks: tuple[HealthCheck, ...] = ()
    check: str = ""
    image: PackageImage | None = None
    endpoint: str = ""

    @classmethod
    def of(cls, document: PackageDocument, weight: int) -> "Version":
        """Return the version that a document describes."""
        agents = {agent.name: agent for agent in document.configured()}
        return cls(
            document.package,
            document.version,
            document.checksum,
            weight,
            MappingProxyType(agents),
            document.tools,
            document.dependencies,
            document.health_checks,
            image=document.image,
        )


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is followed; `serving` maps an agent's name to the versions new sessions may get.

    `set_aside` are versions without new sessions that could not be loaded, and why.
    """

    source: RuntimeConfig
    versions: Mapping[tuple[str, str], Version]
    set_aside: tuple[Refusal, ...] = ()
    serving: Mapping[str, tuple[Version, ...]] = field(init=False)
    limits: Limits = field(init=False)
    max_body_bytes: int = field(init=False)
    """How large a request's body may be, so that every allowed message fits in it."""

    def __post_init__(self) -> None:
        serving: dict[str, list[Version]] = {}
        for version in self.versions.values():
            if version.weight > 0:
                for name in version.agents:
                    serving.setdefault(name, []).append(version)
        frozen = {name: tuple(versions) for name, versions in sorted(serving.items())}
        escaped = self.source.limits.max_input_characters * BYTES_PER_CHARACTER
        object.__setattr__(self, "serving", MappingProxyType(frozen))
        object.__setattr__(self, "limits", self.source.limits)
        object.__setattr__(
            self, "max_body_bytes", max(MIN_BODY_BYTES, escaped + MIN_BODY_BYTES // 4)
        )

    @property
    def hash(self) -> str:
        """Return the hash that the operator gave this configuration."""
        return self.source.hash

    def model_of(self, agent: Agent) -> str:
        """Return the model that an agent answers with, as PROVIDER/MODEL."""
        return agent.model or self.source.models.default

    def timeout_of(self, agent: Agent) -> int:
        """Return the seconds that one message to an agent may take."""
        limit = self.limits.max_execution_time_seconds
        return min(limit, agent.timeout_seconds or limit)
