"""Where an organization's traces and errors go; metrics and logs are always there."""

from typing import Annotated

from pydantic import Field

from bulkhead_api.schema import ApiModel
from bulkhead_api.v1alpha1.patterns import HTTP_URL
from bulkhead_api.v1alpha1.secret_refs import DsnRef, HeadersRef


class Tracing(ApiModel):
    """OpenTelemetry traces over OTLP/HTTP."""

    endpoint: Annotated[
        str,
        Field(
            description=(
                "Address of the collector, to which /v1/traces is added. Reached only where "
                "`spec.network.egress` allows it; one that is away harms no request."
            ),
            min_length=8,
            max_length=1024,
            pattern=HTTP_URL,
        ),
    ]
    headers_ref: Annotated[
        HeadersRef | None,
        Field(description="Headers for the collector, one `Name: value` per line."),
    ] = None
    sampling_ratio: Annotated[
        str,
        Field(
            description=(
                "Share of the traces that begin here, from '0' to '1.0', as decimal text; a "
                "caller's own decision is kept."
            ),
            max_length=8,
            pattern=r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$",
        ),
    ] = "1.0"
    capture_content: Annotated[
        bool,
        Field(
            description="Whether spans carry messages, answers and tool arguments: they may hold "
            "personal data."
        ),
    ] = False
    service_name: Annotated[
        str | None,
        Field(
            description="The resource's service.name; bulkhead-runtime when absent.",
            min_length=1,
            max_length=128,
            pattern=r"^[!-~]+$",
        ),
    ] = None


class Sentry(ApiModel):
    """Unexpected errors, without content, headers and variables."""

    dsn_ref: Annotated[DsnRef, Field(description="The DSN of the project.")]


class Telemetry(ApiModel):
    """Where traces and errors go."""

    tracing: Annotated[
        Tracing | None, Field(description="OpenTelemetry traces; none when absent.")
    ] = None
    sentry: Annotated[
        Sentry | None, Field(description="Error reports to Sentry; none when absent.")
    ] = None
