"""What the operator hands to the runtime: files of one projected volume.

`config.json` (ConfigMap `runtime-config`) holds a `RuntimeConfig`; each file `package_*.json`
(ConfigMaps `runtime-packages-0` to `-15`) a `PackageDocument`. Secrets are never in either: they
are mounted beside. A change arrives by the kubelet's atomic switch of the whole volume; the
runtime follows a configuration only when every version that its routes name is there with the
checksum that the route names.

Values that equal their default are neither written nor part of a hash or checksum: a field that a
later release adds changes nothing for those who do not use it, whichever side is newer.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field

from bulkhead_api.schema import ApiModel
from bulkhead_api.v1alpha1.agents import Agent, HttpTool
from bulkhead_api.v1alpha1.authentication import Authentication
from bulkhead_api.v1alpha1.budgets import Budgets
from bulkhead_api.v1alpha1.limits import Limits
from bulkhead_api.v1alpha1.models import CircuitBreaker, ModelPrice
from bulkhead_api.v1alpha1.package_dependencies import Dependency, ExecutionConfig
from bulkhead_api.v1alpha1.package_health import HealthCheck
from bulkhead_api.v1alpha1.package_image import PackageImage
from bulkhead_api.v1alpha1.package_source import OciSource
from bulkhead_api.v1alpha1.policies import ModelPolicy
from bulkhead_api.v1alpha1.records import Records
from bulkhead_api.v1alpha1.safety import Safety
from bulkhead_api.v1alpha1.sessions import Sessions
from bulkhead_api.v1alpha1.telemetry import Telemetry
from bulkhead_api.v1alpha1.tools import Tools


class ProviderConfig(ApiModel):
    """Where models come from; the key, if any, is the mounted file providers/NAME."""

    name: str
    type: Literal["OpenAICompatible", "LiteLLM"]
    base_url: Annotated[str | None, Field(alias="baseURL")] = None
    has_credentials: bool = False
    timeout_seconds: int = 60
    max_retries: int = 2
    circuit_breaker: CircuitBreaker = CircuitBreaker()


class ModelsConfig(ApiModel):
    """Which models the agents use."""

    default: str
    providers: tuple[ProviderConfig, ...] = ()
    allowed: tuple[str, ...] = ("*",)
    fallbacks: tuple[str, ...] = ()
    prices: tuple[ModelPrice, ...] = ()
    policy: ModelPolicy = ModelPolicy()


class PoolConfig(ApiModel):
    """Bounds of the conversation store."""

    name: str
    max_memory_mb: Annotated[int, Field(alias="maxMemoryMB")]
    default_retention_seconds: int | None = None


class VersionRoute(ApiModel):
    """A version to load; `weight` is its share of new sessions, 0 serves only sessions it has."""

    version: str
    checksum: str
    weight: Annotated[int, Field(ge=0, le=100)]
    check: str = ""
    """Every new value asks for one run of the version's health checks; empty asks for none."""

    endpoint: Annotated[str, Field(max_length=512)] = ""
    """Where the version's own image answers, as http://HOST:PORT; empty where a model answers."""


class PackageRoute(ApiModel):
    """The versions of one package; the weights of one package add up to 100."""

    package: str
    versions: tuple[VersionRoute, ...]


class RuntimeConfig(ApiModel):
    """Everything that the runtime must know and may know without a restart."""

    organization: str
    runtime_id: str
    hash: str = ""
    limits: Limits
    models: ModelsConfig
    pool: PoolConfig
    routes: tuple[PackageRoute, ...] = ()
    replicas: int = 1
    budgets: Budgets = Budgets()
    tools: Tools = Tools()
    sessions: Sessions = Sessions()
    authentication: Authentication = Authentication()
    telemetry: Telemetry = Telemetry()
    records: Records = Records()
    safety: Safety = Safety()
    page: Literal["Enabled", "Disabled"] = "Enabled"

    def written(self) -> str:
        """Return the JSON that is put into the file."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True)

    def with_hash(self) -> "RuntimeConfig":
        """Return the same configuration with `hash` filled in from its content."""
        content = self.model_dump(
            by_alias=True, exclude={"hash"}, exclude_defaults=True, mode="json"
        )
        return self.model_copy(update={"hash": _digest(content)[:32]})


class PackageContent(ApiModel):
    """What a version holds, besides how it is delivered."""

    agents: tuple[Agent, ...] = ()
    tools: tuple[HttpTool, ...] = ()
    oci: OciSource | None = None
    """Where agents and tools lie when they are not here: the runtime fetches them by digest."""
    image: PackageImage | None = None
    """What answers for the agents in place of a model."""
    dependencies: tuple[Dependency, ...] = ()
    health_checks: tuple[HealthCheck, ...] = ()
    execution_config: ExecutionConfig = ExecutionConfig()


class PackageDocument(PackageContent):
    """One version of one package as the runtime loads it."""

    package: str
    version: str
    checksum: str

    @classmethod
    def of(
        cls,
        package: str,
        version: str,
        agents: tuple[Agent, ...],
        tools: tuple[HttpTool, ...] = (),
    ) -> "PackageDocument":
        """Return the document with the checksum of its content."""
        return cls.holding(package, version, PackageContent(agents=agents, tools=tools))

    @classmethod
    def holding(cls, package: str, version: str, content: PackageContent) -> "PackageDocument":
        """Return the document of a content, with its checksum."""
        parts = {name: getattr(content, name) for name in PackageContent.model_fields}
        unsigned = cls(package=package, version=version, checksum="", **parts)
        return unsigned.model_copy(update={"checksum": unsigned.computed_checksum()})

    def written(self) -> str:
        """Return the JSON that is put into the file."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True)

    def intact(self) -> bool:
        """Tell whether the content is what the checksum says."""
        return self.checksum == self.computed_checksum()

    def computed_checksum(self) -> str:
        """Return `sha256:` and the digest over the canonical JSON of the content."""
        content = self.model_dump(
            by_alias=True, exclude={"checksum"}, exclude_defaults=True, mode="json"
        )
        return f"sha256:{_digest(content)}"

    @property
    def is_checked(self) -> bool:
        """Tell whether there is something to check before the version gets sessions."""
        return bool(self.health_checks) or self.image is not None

    def configured(self) -> tuple[Agent, ...]:
        """Return the agents with what `execution_config` says, where it is narrower."""
        return tuple(self.execution_config.applied_to(agent) for agent in self.agents)


def _digest(content: object) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
