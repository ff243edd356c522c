"""What the operator is told by its environment; the chart writes it, variables begin BULKHEAD_."""

import os
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Json


class PodSelector(BaseModel):
    """Pods of other namespaces that network policies let in or out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace_labels: dict[str, str] = {}
    pod_labels: dict[str, str] = {}


class ResourcePrices(BaseModel):
    """US dollars per hour that a platform reckons for what it reserves; 0 is unpriced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu_core: Annotated[float, Field(ge=0, le=1000)] = 0
    memory_gib: Annotated[float, Field(ge=0, le=1000)] = 0
    storage_gib: Annotated[float, Field(ge=0, le=1000)] = 0


class Settings(BaseModel):
    """The operator's settings; durations are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str = "bulkhead-system"
    identity: str = "bulkhead-operator"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    probes_port: int = 8080
    metrics_port: int = 9090

    runtime_image: Annotated[str, Field(min_length=1)] = "localhost/bulkhead-runtime:dev"
    runtime_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    runtime_image_pull_secrets: Json[tuple[str, ...]] = ()
    runtime_drain_seconds: Annotated[int, Field(ge=0, le=300)] = 5
    """How long a terminating runtime serves on, so that every endpoint list has dropped it."""

    url_template: str = "http://runtime.{namespace}.svc"
    """Shown as status.url; {namespace} and {organization} are filled in."""

    gateways: Json[tuple[PodSelector, ...]] = ()
    """Who may reach the public port of every runtime."""
    scrapers: Json[tuple[PodSelector, ...]] = ()
    """Who may reach the internal port (metrics) of every runtime."""
    operator_labels: Json[dict[str, str]] = {}
    """Labels of the operator's own pods, which reach the internal port."""
    dns: Json[PodSelector] = PodSelector(
        namespace_labels={"kubernetes.io/metadata.name": "kube-system"},
        pod_labels={"k8s-app": "kube-dns"},
    )
    denied_cidrs: Json[tuple[str, ...]] = ()
    """Never reachable from a runtime, whatever a spec allows: nodes, API server, services."""

    workers: Annotated[int, Field(ge=1, le=500)] = 50
    resync_seconds: Annotated[int, Field(ge=10)] = 300
    usage_seconds: Annotated[int, Field(ge=5)] = 60
    restarts_at_once: Annotated[int, Field(ge=1)] = 5
    restart_failures_before_halt: Annotated[int, Field(ge=1)] = 2

    resource_prices: Json[ResourcePrices] = ResourcePrices()

    lease_name: str = "bulkhead-operator"
    lease_duration_seconds: float = 15
    lease_renew_seconds: float = 5

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the variables; raises `ValidationError` naming the one that is wrong."""
        prefix = "BULKHEAD_"
        return cls.model_validate(
            {
                name.removeprefix(prefix).lower(): value
                for name, value in environment.items()
                if name.startswith(prefix) and name.removeprefix(prefix).lower() in cls.model_fields
            }
        )
