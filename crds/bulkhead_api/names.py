"""Names that more than one part relies on: groups, labels, annotations, object names, ports.

They are a contract. A name changes only together with the tests of every part that uses it.
"""

from typing import Final

GROUP: Final = "bulkhead.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "bulkhead"

LABEL_ORGANIZATION: Final = f"{GROUP}/organization"
"""On every child: the owner's name. For selection only, it never grants anything."""

ANNOTATION_ORGANIZATION: Final = f"{GROUP}/organization"
"""On a namespace made by a person: names the one organization that may adopt it."""

ANNOTATION_ROTATE_API_KEY: Final = f"{GROUP}/rotate-api-key"
"""On an OrganizationRuntime: every new value asks for one new API key."""

ANNOTATION_ROLLBACK_TO: Final = f"{GROUP}/rollback-to"
"""On an AgentPackage: the former version to go back to, until the spec names another."""

ANNOTATION_RETRY: Final = f"{GROUP}/retry"
"""On an AgentPackage: every new value tries a version again that was taken back."""

ANNOTATION_APPROVE_STEP: Final = f"{GROUP}/approve-step"
"""On an AgentPackage: the step, counted from 1, up to which a person lets the rollout go on."""

ANNOTATION_CONFIGURATION_HASH: Final = f"{GROUP}/configuration-hash"
"""On pods: touched by the operator so that the kubelet syncs mounted files at once."""

ANNOTATION_POD_TEMPLATE_HASH: Final = f"{GROUP}/pod-template-hash"
"""On the Deployment: hash of the pod template that the operator last wanted."""

ANNOTATION_ORGANIZATION_GENERATION: Final = f"{GROUP}/organization-generation"
"""On the Deployment: the owner's generation that its pod template was built from."""

FINALIZER: Final = f"{GROUP}/operator"
FIELD_MANAGER: Final = "bulkhead-operator"
MANAGED_BY: Final = "bulkhead-operator"

NAMESPACE_PREFIX: Final = "org-"
SYSTEM_NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")

RUNTIME: Final = "runtime"
"""Deployment, Service, ServiceAccount, PodDisruptionBudget, quota of every organization."""

API_KEY_SECRET: Final = "runtime-api-key"  # noqa: S105 (the Secret's name, not its content)
INTERNAL_SECRET: Final = "runtime-internal"  # noqa: S105 (the Secret's name, not its content)
TOKEN_FIELD: Final = "token"  # noqa: S105 (a field's name)
CONFIG_MAP: Final = "runtime-config"
PACKAGE_CONFIG_MAP_PREFIX: Final = "runtime-packages-"
PACKAGE_CONFIG_MAPS: Final = 16
DATA_CLAIM: Final = "runtime-data"
DEFAULT_POOL: Final = "default"

SERVICE_PORT: Final = 80
PUBLIC_PORT: Final = 8080
INTERNAL_PORT: Final = 9090

CONFIG_FILE: Final = "config.json"
CONFIG_DIRECTORY: Final = "/etc/bulkhead"
DATA_DIRECTORY: Final = "/var/lib/bulkhead"
DOCUMENTS_DIRECTORY: Final = "/etc/bulkhead-documents"
"""Holds one folder per ConfigMap of spec.tools.documents, named like it; one file per entry."""

SECRETS_DIRECTORY: Final = "/var/run/secrets/bulkhead"
"""Below it lie the folders and files of the names that follow; each file holds one value."""

API_KEY_FOLDER: Final = "api-key"
INTERNAL_FOLDER: Final = "internal"
"""Both hold the file `token`."""

PROVIDERS_FOLDER: Final = "providers"
"""One file per provider with a key, named like it."""

API_KEYS_FOLDER: Final = "api-keys"
"""One file per entry of spec.authentication.apiKeys, named like it."""

OIDC_FOLDER: Final = "oidc"
"""NAME.pem for each issuer with certificates of its own."""

TOOLS_FOLDER: Final = "tools"
"""One file per entry of spec.tools.credentials, named like it."""

MCP_FOLDER: Final = "mcp"
"""One file per MCP server with a credential, named like it."""

REGISTRIES_FOLDER: Final = "registries"
"""One file per pull Secret of an OCI source, named like it: its `.dockerconfigjson`."""

POSTGRES_DSN_FILE: Final = "postgres/dsn"
REDIS_URL_FILE: Final = "redis/url"
TRACING_HEADERS_FILE: Final = "telemetry/headers"
SENTRY_DSN_FILE: Final = "sentry/dsn"

STORE_VARIABLE: Final = "BULKHEAD_STORE"
"""Environment of the runtime: `sqlite` or `postgres`."""

REDIS_VARIABLE: Final = "BULKHEAD_REDIS"
"""Environment of the runtime: `true` with a Redis in front of PostgreSQL, else `false`."""

POSTGRES_CONNECTIONS_VARIABLE: Final = "BULKHEAD_POSTGRES_MAX_CONNECTIONS"
"""Environment of the runtime: connections of its pool at most."""

POD_IP_VARIABLE: Final = "BULKHEAD_POD_IP"
"""Environment of the runtime: the pod's own address, for images of packages that call models."""

OFFLINE_PROVIDER: Final = "offline"
OFFLINE_MODEL: Final = "offline/echo"


def package_key(name: str, version: str) -> str:
    """Return the ConfigMap key, and so the file name, of one package version's document."""
    return f"package_{name}_{version}.json"


def default_namespace(organization: str) -> str:
    """Return the namespace that the operator makes when the spec names none."""
    return f"{NAMESPACE_PREFIX}{organization}"
