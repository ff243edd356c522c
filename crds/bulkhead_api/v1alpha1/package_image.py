"""A version that answers from an image of its own: what runs beside the runtime, and how large."""

from typing import Annotated

from pydantic import ConfigDict, Field

from bulkhead_api.schema import ApiModel, rule, rules
from bulkhead_api.v1alpha1.patterns import DNS_SUBDOMAIN, IMAGE_REFERENCE, MONEY


class PackageImage(ApiModel):
    """An image that speaks the contract of dedicated packages."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!self.reference.endsWith(':latest')",
                "must not have the tag `latest`, which is another image tomorrow: name the "
                "digest, or a tag that is never moved",
                value="self.reference",
                field_path=".reference",
            ),
        )
    )

    reference: Annotated[
        str,
        Field(
            description=(
                "HOST[:PORT]/REPOSITORY@sha256:DIGEST, or :TAG for a registry in which tags are "
                "never moved. Pulled by the node."
            ),
            min_length=5,
            max_length=1024,
            pattern=IMAGE_REFERENCE,
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
    port: Annotated[
        int, Field(description="Port on which the image answers.", ge=1024, le=65535)
    ] = 8080
    replicas: Annotated[int, Field(description="Pods of this version.", ge=1, le=10)] = 1
    memory_mb: Annotated[
        int,
        Field(
            alias="memoryMB",
            description="Mebibytes of memory per pod, reserved and enforced.",
            ge=16,
            le=1048576,
        ),
    ] = 256
    cpu_millicores: Annotated[
        int,
        Field(
            description="Thousandths of a CPU core per pod, reserved and enforced.",
            ge=10,
            le=64000,
        ),
    ] = 250
    max_cost_per_call: Annotated[
        str | None,
        Field(
            description=(
                "US dollars that one call of the image may cost at most: reserved from budgets "
                "before, and counted where the image does not say what it cost. Needed where a "
                "budget bounds cost; 0 for an image that spends nothing by itself."
            ),
            max_length=17,
            pattern=MONEY,
        ),
    ] = None
