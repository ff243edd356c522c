"""Tools that an organization's agents may be given, and what those may reach."""

from typing import Annotated

from pydantic import Field

from bulkhead_api.schema import LIST_SET, ApiModel, list_map
from bulkhead_api.v1alpha1.patterns import DNS_LABEL, DNS_SUBDOMAIN, HOST_GLOB, HTTP_URL, TOOL_NAME
from bulkhead_api.v1alpha1.policies import Risk, ToolPolicy
from bulkhead_api.v1alpha1.secret_refs import CredentialsRef

HostGlob = Annotated[str, Field(min_length=1, max_length=253, pattern=HOST_GLOB)]
ConfigMapName = Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]


class ToolRisk(ApiModel):
    """The risk of one tool of a server."""

    tool: Annotated[
        str, Field(description="The tool's name on its server.", max_length=64, pattern=TOOL_NAME)
    ]
    risk: Annotated[Risk, Field(description="How much harm a wrong call may do.")]


class McpServer(ApiModel):
    """A server of the Model Context Protocol (streamable HTTP) whose tools agents may use."""

    name: Annotated[
        str,
        Field(
            description="First part of its tools' names: NAME__TOOL.",
            min_length=1,
            max_length=30,
            pattern=DNS_LABEL,
        ),
    ]
    url: Annotated[
        str,
        Field(
            description=(
                "Address of the server, without credentials in it. Reached only where "
                "`spec.network.egress` allows it."
            ),
            min_length=8,
            max_length=1024,
            pattern=HTTP_URL,
        ),
    ]
    credentials_ref: Annotated[
        CredentialsRef | None,
        Field(description="Bearer token; absent for a server that asks for none."),
    ] = None
    timeout_seconds: Annotated[
        int, Field(description="Seconds that one call may take.", ge=1, le=3600)
    ] = 30
    risk: Annotated[Risk, Field(description="Risk of its tools, but for those in toolRisks.")] = (
        "medium"
    )
    tool_risks: Annotated[
        tuple[ToolRisk, ...],
        Field(
            description="Tools with a risk of their own.",
            max_length=64,
            json_schema_extra=list_map("tool"),
        ),
    ] = ()


class WebFetch(ApiModel):
    """The built-in tool `web_fetch`: reads public web pages, never private addresses."""

    enabled: Annotated[bool, Field(description="Whether agents may be given the tool.")] = False
    allowed_hosts: Annotated[
        tuple[HostGlob, ...],
        Field(
            description="Hosts that may be read ('*' for any characters); every public one when "
            "empty.",
            max_length=64,
            json_schema_extra=LIST_SET,
        ),
    ] = ()
    max_bytes: Annotated[
        int, Field(description="Bytes of one page; more is cut off.", ge=1024, le=16777216)
    ] = 1048576
    timeout_seconds: Annotated[
        int, Field(description="Seconds that one page may take.", ge=1, le=300)
    ] = 15


class Documents(ApiModel):
    """What the built-in tool `search_documents` searches; agents have it when there is any."""

    config_maps: Annotated[
        tuple[ConfigMapName, ...],
        Field(
            description=(
                "ConfigMaps in the organization's namespace; each of their entries is a document "
                "of plain text or Markdown. A change is found without a restart."
            ),
            max_length=16,
            json_schema_extra=LIST_SET,
        ),
    ] = ()


class ToolCredential(ApiModel):
    """A credential that packages may use by name, and the only hosts that ever get it."""

    name: Annotated[
        str,
        Field(
            description="Name by which a package's tool asks for it.",
            min_length=1,
            max_length=63,
            pattern=DNS_LABEL,
        ),
    ]
    secret_ref: Annotated[CredentialsRef, Field(description="Where the value is.")]
    hosts: Annotated[
        tuple[HostGlob, ...],
        Field(
            description=(
                "Hosts that it may be sent to ('*' for any characters). Whoever writes packages "
                "chooses the address, so the platform says who may learn the secret."
            ),
            min_length=1,
            max_length=16,
            json_schema_extra=LIST_SET,
        ),
    ]


class Tools(ApiModel):
    """Where tools come from, and the policy that decides about every call."""

    servers: Annotated[
        tuple[McpServer, ...],
        Field(
            description="MCP servers whose tools agents may use.",
            max_length=16,
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    web_fetch: Annotated[WebFetch, Field(description="The built-in tool `web_fetch`.")] = WebFetch()
    documents: Annotated[Documents, Field(description="What `search_documents` searches.")] = (
        Documents()
    )
    credentials: Annotated[
        tuple[ToolCredential, ...],
        Field(
            description="Credentials that tools of packages may use.",
            max_length=32,
            json_schema_extra=list_map("name"),
        ),
    ] = ()
    private_hosts: Annotated[
        tuple[HostGlob, ...],
        Field(
            description=(
                "Hosts with private addresses (services of this cluster, the company's network) "
                "that tools of packages may call; none when empty. `spec.network.egress` must "
                "allow them too."
            ),
            max_length=32,
            json_schema_extra=LIST_SET,
        ),
    ] = ()
    policy: Annotated[ToolPolicy, Field(description="Decides about every call of a tool.")] = (
        ToolPolicy()
    )
