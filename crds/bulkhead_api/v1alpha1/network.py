"""What an organization's runtime may reach."""

from typing import Annotated

from pydantic import ConfigDict, Field

from bulkhead_api.schema import LIST_ATOMIC, LIST_SET, ApiModel, rule, rules
from bulkhead_api.v1alpha1.patterns import CIDR, DNS_LABEL


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
