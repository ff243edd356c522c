"""OrganizationRuntime: one organization's sealed-off agent runtime."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bulkhead_api.names import SYSTEM_NAMESPACES
from bulkhead_api.schema import ApiModel, Column, CustomResource, list_map, rule, rules
from bulkhead_api.v1alpha1.authentication import Authentication
from bulkhead_api.v1alpha1.budgets import Budgets
from bulkhead_api.v1alpha1.integrations import Integration
from bulkhead_api.v1alpha1.limits import Limits, Requests
from bulkhead_api.v1alpha1.models import Models, Provider
from bulkhead_api.v1alpha1.network import EgressRule, Network
from bulkhead_api.v1alpha1.patterns import DNS_LABEL
from bulkhead_api.v1alpha1.records import Records
from bulkhead_api.v1alpha1.safety import Safety
from bulkhead_api.v1alpha1.secret_refs import CredentialsRef, SecretRef
from bulkhead_api.v1alpha1.sessions import Sessions
from bulkhead_api.v1alpha1.status import CommonStatus
from bulkhead_api.v1alpha1.storage import Storage
from bulkhead_api.v1alpha1.telemetry import Telemetry
from bulkhead_api.v1alpha1.tools import Tools

__all__ = [
    "Authentication",
    "Budgets",
    "CredentialsRef",
    "EgressRule",
    "Limits",
    "Models",
    "Network",
    "OrganizationRuntime",
    "OrganizationRuntimeSpec",
    "OrganizationRuntimeStatus",
    "Provider",
    "Records",
    "Requests",
    "Safety",
    "SecretRef",
    "Sessions",
    "Storage",
    "Telemetry",
    "Tools",
]

_SYSTEM = ", ".join(f"'{name}'" for name in SYSTEM_NAMESPACES)


class OrganizationRuntimeSpec(ApiModel):
    """What the platform team wants for one organization."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.__namespace__) == has(oldSelf.__namespace__) && "
                "(!has(self.__namespace__) || self.__namespace__ == oldSelf.__namespace__)",
                "is immutable: delete this organization and make a new one to move it",
                field_path=".namespace",
            ),
            rule(
                "!self.models.providers.exists(p, has(p.type) && p.type == 'LiteLLM') || "
                "self.limits.maxMemoryMB >= 512",
                "must be at least 512 while `spec.models.providers` has one of type 'LiteLLM'",
                field_path=".limits.maxMemoryMB",
            ),
            rule(
                "self.replicas == 1 || has(self.storage.postgres)",
                "must be 1 without `spec.storage.postgres`: a volume is mounted by one replica; "
                "name a PostgreSQL that replicas share",
                field_path=".replicas",
            ),
            rule(
                "!has(self.budgets.cheaperModel) || "
                "self.budgets.cheaperModel.startsWith('offline/') || "
                "self.models.providers.exists(p, "
                "self.budgets.cheaperModel.startsWith(p.name + '/'))",
                "must name one of `spec.models.providers` or 'offline': write PROVIDER/MODEL",
                field_path=".budgets.cheaperModel",
            ),
            rule(
                "!has(self.sessions.compaction.model) || "
                "self.sessions.compaction.model.startsWith('offline/') || "
                "self.models.providers.exists(p, "
                "self.sessions.compaction.model.startsWith(p.name + '/'))",
                "must name one of `spec.models.providers` or 'offline': write PROVIDER/MODEL",
                field_path=".sessions.compaction.model",
            ),
            rule(
                "!has(self.safety.moderation) || "
                "self.models.providers.exists(p, p.name == self.safety.moderation.provider && "
                "(!has(p.type) || p.type == 'OpenAICompatible'))",
                "must name one of `spec.models.providers` of type 'OpenAICompatible'",
                field_path=".safety.moderation.provider",
            ),
        )
    )

    namespace: Annotated[
        str | None,
        Field(
            description=(
                "A namespace that a person made for this organization and annotated with "
                "bulkhead.dev/organization: NAME. The operator makes org-NAME when absent."
            ),
            min_length=1,
            max_length=63,
            pattern=DNS_LABEL,
            json_schema_extra=rules(
                rule(
                    f"!(self in [{_SYSTEM}]) && !self.startsWith('kube-')",
                    "must not be a system namespace: choose one made for this organization",
                )
            ),
        ),
    ] = None
    deletion_policy: Annotated[
        Literal["Delete", "Retain"],
        Field(
            description=(
                "What deleting this object does to the organization's data and to a namespace "
                "that the operator made: Delete removes both, Retain leaves both (the runtime "
                "itself always goes)."
            ),
        ),
    ] = "Delete"
    suspend: Annotated[
        bool,
        Field(description="While true the runtime is stopped and its data is kept."),
    ] = False
    replicas: Annotated[
        int,
        Field(
            description=(
                "Pods that serve the organization; more than one needs `spec.storage.postgres`."
            ),
            ge=1,
            le=32,
        ),
    ] = 1
    limits: Annotated[Limits, Field(description="Bounds that hold for the organization.")] = (
        Limits()
    )
    models: Annotated[Models, Field(description="Which models the agents use.")] = Models()
    network: Annotated[
        Network, Field(description="What the runtime may reach besides cluster DNS.")
    ] = Network()
    storage: Annotated[
        Storage, Field(description="Where the organization's conversations lie.")
    ] = Storage()
    budgets: Annotated[
        Budgets, Field(description="How much work may use, reserved before it is spent.")
    ] = Budgets()
    tools: Annotated[Tools, Field(description="Where tools come from, and who may call them.")] = (
        Tools()
    )
    sessions: Annotated[
        Sessions, Field(description="How long conversations live and what a request carries.")
    ] = Sessions()
    authentication: Annotated[
        Authentication, Field(description="Who may call besides the generated key.")
    ] = Authentication()
    telemetry: Annotated[Telemetry, Field(description="Where traces and errors go.")] = Telemetry()
    records: Annotated[
        Records, Field(description="How long events and the ledger's lines are kept.")
    ] = Records()
    safety: Annotated[
        Safety, Field(description="What is done about suspicious and harmful input.")
    ] = Safety()
    page: Annotated[
        Literal["Enabled", "Disabled"],
        Field(
            description=(
                "Whether the runtime serves a page for the organization's people at /ui; the API "
                "behind it is the same either way."
            ),
        ),
    ] = "Enabled"
    integrations: Annotated[
        tuple[Integration, ...],
        Field(
            description=(
                "What packages can depend on by version; one name may have several versions."
            ),
            max_length=64,
            json_schema_extra=list_map("name", "version"),
        ),
    ] = ()


class OrganizationRuntimeStatus(CommonStatus):
    """What the operator saw."""

    state: Annotated[
        Literal["pending", "active", "degraded", "hibernated", "suspended", "terminating"] | None,
        Field(description="The conditions in one word, for people; no program should read it."),
    ] = None
    runtime_id: Annotated[
        str | None, Field(description="Identifies this runtime in logs and metrics.", max_length=64)
    ] = None
    namespace: Annotated[
        str | None, Field(description="The organization's namespace.", max_length=63)
    ] = None
    namespace_uid: Annotated[
        str | None,
        Field(
            alias="namespaceUID",
            description=(
                "UID of the namespace when the operator claimed it; a namespace with another UID "
                "is not ours."
            ),
            max_length=64,
        ),
    ] = None
    namespace_created: Annotated[
        bool | None,
        Field(description="Whether the operator made the namespace, and so may delete it."),
    ] = None
    url: Annotated[
        str | None, Field(description="Where the organization's API answers.", max_length=1024)
    ] = None
    active_agents: Annotated[
        int | None, Field(description="Agents that are loaded and answer.", ge=0)
    ] = None
    configuration_hash: Annotated[
        str | None, Field(description="Configuration that the runtime has loaded.", max_length=64)
    ] = None
    handled_api_key_rotation: Annotated[
        str | None,
        Field(
            description="The last value of bulkhead.dev/rotate-api-key that was carried out.",
            max_length=256,
        ),
    ] = None


class OrganizationRuntime(CustomResource):
    """One organization's sealed-off agent runtime: namespace, limits, network, models, endpoint."""

    kind_name: ClassVar[str] = "OrganizationRuntime"
    plural: ClassVar[str] = "organizationruntimes"
    singular: ClassVar[str] = "organizationruntime"
    short_name: ClassVar[str] = "orgrt"
    scope: ClassVar[str] = "Cluster"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("State", ".status.state"),
        Column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        Column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
        Column("URL", ".status.url"),
        Column("Agents", ".status.activeAgents", type="integer"),
        Column("Age", ".metadata.creationTimestamp", type="date"),
        Column("Namespace", ".status.namespace", priority=1),
        Column("Message", ".status.conditions[?(@.type=='Ready')].message", priority=1),
    )
    object_rules: ClassVar[tuple[JsonDict, ...]] = (
        rule(
            "self.metadata.name.size() <= 40 && !self.metadata.name.contains('.')",
            "`metadata.name` must be a DNS label of at most 40 characters (a-z, 0-9, '-'): "
            "choose a shorter name without dots",
        ),
    )

    spec: Annotated[OrganizationRuntimeSpec, Field(description="What the platform team wants.")] = (
        OrganizationRuntimeSpec()
    )
    status: Annotated[OrganizationRuntimeStatus, Field(description="What the operator saw.")] = (
        OrganizationRuntimeStatus()
    )
