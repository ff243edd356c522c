"""Where the content of a version comes from when it is not written into the package itself."""

from typing import Annotated

from pydantic import ConfigDict, Field

from bulkhead_api.schema import ApiModel, rule, rules
from bulkhead_api.v1alpha1.patterns import DATA_KEY, DNS_SUBDOMAIN, OCI_REFERENCE


class ConfigMapSource(ApiModel):
    """A field of a ConfigMap in the same namespace."""

    name: Annotated[
        str,
        Field(
            description="Name of the ConfigMap in the package's namespace.",
            min_length=1,
            max_length=253,
            pattern=DNS_SUBDOMAIN,
        ),
    ]
    key: Annotated[
        str,
        Field(
            description="Field that holds the manifest that the packaging command writes.",
            min_length=1,
            max_length=253,
            pattern=DATA_KEY,
        ),
    ] = "package.json"


class OciSource(ApiModel):
    """An artifact of an OCI registry, fetched by the runtime and by nobody else."""

    reference: Annotated[
        str,
        Field(
            description=(
                "HOST[:PORT]/REPOSITORY@sha256:DIGEST of the artifact's manifest. Pinned by "
                "digest, because a tag may become something else."
            ),
            min_length=75,
            max_length=1024,
            pattern=OCI_REFERENCE,
        ),
    ]
    pull_secret_name: Annotated[
        str | None,
        Field(
            description=(
                "Secret of type kubernetes.io/dockerconfigjson in the package's namespace; none "
                "for a registry that asks for nothing."
            ),
            min_length=1,
            max_length=253,
            pattern=DNS_SUBDOMAIN,
        ),
    ] = None


class PackageSource(ApiModel):
    """Where the content of the version lies."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.configMap) != has(self.oci)",
                "must have exactly one of `configMap` and `oci`",
            ),
        )
    )

    config_map: Annotated[
        ConfigMapSource | None, Field(description="A ConfigMap of the same namespace.")
    ] = None
    oci: Annotated[OciSource | None, Field(description="An OCI artifact.")] = None
