"""Where an organization's conversations lie: on a volume of its own or in shared stores."""

from typing import Annotated

from pydantic import ConfigDict, Field

from bulkhead_api.schema import ApiModel, rule, rules
from bulkhead_api.v1alpha1.patterns import DNS_SUBDOMAIN
from bulkhead_api.v1alpha1.secret_refs import DsnRef, UrlRef


class Postgres(ApiModel):
    """A PostgreSQL database in which the organization has a role of its own."""

    secret_ref: Annotated[
        DsnRef,
        Field(
            description=(
                "DSN of the organization's role, for example "
                "postgresql://bulkhead_acme:PASSWORD@db.example.com/bulkhead?sslmode=verify-full. "
                "Reached only where `spec.network.egress` allows it."
            )
        ),
    ]
    max_connections: Annotated[
        int,
        Field(description="Connections per replica at most; none while idle.", ge=1, le=100),
    ] = 10


class Redis(ApiModel):
    """A Redis that makes PostgreSQL faster; losing it costs speed only."""

    secret_ref: Annotated[
        UrlRef,
        Field(
            description=(
                "Address with the organization's user, for example "
                "rediss://acme:PASSWORD@cache.example.com:6379/0. Reached only where "
                "`spec.network.egress` allows it."
            )
        ),
    ]


class Storage(ApiModel):
    """Where the organization's conversations lie."""

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
            rule(
                "has(self.postgres) == has(oldSelf.postgres)",
                "is immutable in its presence: conversations do not move between stores; make a "
                "new organization",
                field_path=".postgres",
            ),
            rule(
                "!has(self.redis) || has(self.postgres)",
                "must come with `spec.storage.postgres`: Redis only makes PostgreSQL faster",
                field_path=".redis",
            ),
        )
    )

    size_mb: Annotated[
        int,
        Field(
            alias="sizeMB",
            description=(
                "Mebibytes of the volume. It can grow where the StorageClass allows expansion. "
                "With `postgres` there is no volume."
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
    postgres: Annotated[
        Postgres | None,
        Field(
            description=(
                "Keeps conversations in PostgreSQL instead of a volume, so that several replicas "
                "share them."
            )
        ),
    ] = None
    redis: Annotated[
        Redis | None, Field(description="A cache in front of `postgres`, shared by replicas.")
    ] = None
