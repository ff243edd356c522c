"""OrganizationRuntime: one organization's sealed-off agent runtime."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from bulkhead_api.names import OFFLINE_MODEL, SYSTEM_NAMESPACES
from bulkhead_api.schema import (
    LIST_ATOMIC,
    LIST_SET,
    ApiModel,
    Column,
    CustomResource,
    list_map,
    rule,
    rules,
)
from bulkhead_api.v1alpha1.status import CommonStatus

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
DATA_KEY = r"^[-._a-zA-Z0-9]+$"
MODEL_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[^\s/][^\s]*$"
CIDR = r"^[0-9a-fA-F.:]+/[0-9]{1,3}$"

_SYSTEM = ", ".join(f"'{name}'" for name in SYSTEM_NAMESPACES)


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
    requests: Annotated[
        Requests, Field(description="What the scheduler reserves for one replica.")
    ] = Requests()


class CredentialsRef(ApiModel):
    """A field of a Secret in the organization's own namespace."""

    name: Annotated[
        str,
        Field(
            description="Name of the Secret in the organization's namespace.",
            min_length=1,
            max_length=253,
            pattern=DNS_SUBDOMAIN,
        ),
    ]
    key: Annotated[
        str,
        Field(
            description="Field of the Secret that holds the provider's API key.",
            min_length=1,
            max_length=253,
            pattern=DATA_KEY,
        ),
    ] = "api-key"


class Provider(ApiModel):
    """Where models come from."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.type != 'OpenAICompatible' || has(self.baseURL)",
                "`baseURL` must be given for type 'OpenAICompatible', for example "
                "'https://api.example.com/v1'",
            ),
            rule(
                "self.name != 'offline'",
                "must not be 'offline': that name belongs to the embedded model; choose another",
                field_path=".name",
            ),
        )
    )

    name: Annotated[
        str,
        Field(
            description="First part of a model's name: NAME/MODEL.",
            min_length=1,
            max_length=40,
            pattern=DNS_LABEL,
        ),
    ]
    type: Annotated[
        Literal["OpenAICompatible", "LiteLLM"],
        Field(
            description=(
                "OpenAICompatible talks to baseURL directly. LiteLLM serves every other provider "
                "by litellm's name for it (for example anthropic) and needs maxMemoryMB of at "
                "least 512."
            ),
        ),
    ] = "OpenAICompatible"
    base_url: Annotated[
        str | None,
        Field(
            alias="baseURL",
            description=(
                "Address of the API, up to and including its version, without credentials in it. "
                "Reached from the organization's namespace only, and only where "
                "spec.network.egress allows it."
            ),
            min_length=8,
            max_length=1024,
            pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$",
        ),
    ] = None
    credentials_ref: Annotated[
        CredentialsRef | None,
        Field(description="The API key; absent for a provider that asks for none."),
    ] = None
    timeout_seconds: Annotated[
        int,
        Field(
            description="Seconds to wait for an answer, and between two parts of a stream.",
            ge=1,
            le=3600,
        ),
    ] = 60


class Models(ApiModel):
    """Which models the agents use."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.default.startsWith('offline/') || "
                "self.providers.exists(p, self.default.startsWith(p.name + '/'))",
                "must name one of `spec.models.providers` or 'offline': write PROVIDER/MODEL",
                value="self.default",
                field_path=".default",
            ),
        )
    )

    default: Annotated[
        str,
        Field(
            description=(
                "Model of agents that name none, as PROVIDER/MODEL. The embedded offline model "
                "answers without any provider or key."
            ),
            max_length=256,
            pattern=MODEL_NAME,
        ),
    ] = OFFLINE_MODEL
    providers: Annotated[
        tuple[Provider, ...],
        Field(
            description="Providers that models may come from.",
            max_length=16,
            json_schema_extra=list_map("name"),
        ),
    ] = ()


class EgressRule(ApiModel):
    """One destination that the runtime may reach."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.cidr) != has(self.__namespace__)",
                "must have exactly one of `cidr` and `namespace`",
            ),
        )
    )

    cidr: Annotated[
        str | None,
        Field(
            description=(
                "Addresses outside the cluster, for example 203.0.113.0/24. Cloud metadata, the "
                "API server, nodes and pods stay out of reach whatever is written here."
            ),
            max_length=64,
            pattern=CIDR,
            json_schema_extra=rules(
                rule(
                    "isCIDR(self)",
                    "must be a CIDR like '203.0.113.0/24' or '2001:db8::/32'",
                )
            ),
        ),
    ] = None
    namespace: Annotated[
        str | None,
        Field(
            description=(
                "A namespace of this cluster whose pods may be reached, for example that of a "
                "model gateway. Never another organization's."
            ),
            max_length=63,
            pattern=DNS_LABEL,
        ),
    ] = None
    ports: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65535)], ...],
        Field(
            description="TCP ports that may be reached there.",
            min_length=1,
            max_length=16,
            json_schema_extra=LIST_SET,
        ),
    ]


class Network(ApiModel):
    """What the runtime may reach besides cluster DNS; everything else is refused."""

    egress: Annotated[
        tuple[EgressRule, ...],
        Field(
            description="Destinations that the runtime may reach.",
            max_length=32,
            json_schema_extra=LIST_ATOMIC,
        ),
    ] = ()


class Storage(ApiModel):
    """The volume that holds the organization's conversations."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.storageClassName) == has(oldSelf.storageClassName) && "
                "(!has(self.storageClassName) || "
                "self.storageClassName == oldSelf.storageClassName)",
                "is immutable: a volume cannot change its class; make a new organization",
                field_path=".storageClassName",
            ),
            rule(
                "self.sizeMB >= oldSelf.sizeMB",
                "must not shrink: a volume cannot become smaller",
                field_path=".sizeMB",
            ),
        )
    )

    size_mb: Annotated[
        int,
        Field(
            alias="sizeMB",
            description=(
                "Mebibytes of the volume. It can grow where the StorageClass allows expansion."
            ),
            ge=64,
            le=16777216,
        ),
    ] = 1024
    storage_class_name: Annotated[
        str | None,
        Field(
            description="StorageClass of the volume; the cluster's default when absent.",
            max_length=253,
            pattern=DNS_SUBDOMAIN,
        ),
    ] = None


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
                "!self.models.providers.exists(p, p.type == 'LiteLLM') || "
                "self.limits.maxMemoryMB >= 512",
                "must be at least 512 while `spec.models.providers` has one of type 'LiteLLM'",
                field_path=".limits.maxMemoryMB",
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
    limits: Annotated[Limits, Field(description="Bounds that hold for the organization.")] = (
        Limits()
    )
    models: Annotated[Models, Field(description="Which models the agents use.")] = Models()
    network: Annotated[
        Network, Field(description="What the runtime may reach besides cluster DNS.")
    ] = Network()
    storage: Annotated[
        Storage, Field(description="The volume that holds the organization's conversations.")
    ] = Storage()


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
