"""The volume that holds an organization's conversations."""

from typing import Annotated

from pydantic import ConfigDict, Field

from bulkhead_api.schema import ApiModel, rule, rules
from bulkhead_api.v1alpha1.patterns import DNS_SUBDOMAIN


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
