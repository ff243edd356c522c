"""Every Secret that a spec names: where its value is mounted, and how a person is told of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from bulkhead_api import names
from bulkhead_api.v1alpha1 import OrganizationRuntimeSpec
from bulkhead_api.v1alpha1.organization_runtime import SecretRef


@dataclass(frozen=True, slots=True)
class Credential:
    """One field of one Secret; `path` is its file below names.SECRETS_DIRECTORY."""

    field: str
    """The field of the spec that names it."""
    reference: SecretRef
    path: str
    holds: str
    """What the Secret must hold, in words."""

    @property
    def folder(self) -> str:
        """Return the folder of the file: what is in one is mounted together."""
        return self.path.partition("/")[0]

    @property
    def file(self) -> str:
        """Return the file's name in its folder."""
        return self.path.partition("/")[2]


def credentials(spec: OrganizationRuntimeSpec) -> Iterator[Credential]:
    """Yield what a spec names, what is needed for every turn first."""
    yield from _stores(spec)
    yield from _providers(spec)
    yield from _keys(spec)
    yield from _tools(spec)
    yield from _telemetry(spec)


def _stores(spec: OrganizationRuntimeSpec) -> Iterator[Credential]:
    if spec.storage.postgres is not None:
        yield Credential(
            "`spec.storage.postgres.secretRef`",
            spec.storage.postgres.secret_ref,
            names.POSTGRES_DSN_FILE,
            "the DSN of the organization's role",
        )
    if spec.storage.redis is not None:
        yield Credential(
            "`spec.storage.redis.secretRef`",
            spec.storage.redis.secret_ref,
            names.REDIS_URL_FILE,
            "the address of Redis with the organization's user",
        )


def _providers(spec: OrganizationRuntimeSpec) -> Iterator[Credential]:
    for index, provider in enumerate(spec.models.providers):
        if provider.credentials_ref is not None:
            yield Credential(
                f"`spec.models.providers[{index}].credentialsRef`",
                provider.credentials_ref,
                f"{names.PROVIDERS_FOLDER}/{provider.name}",
                "the provider's API key",
            )


def _keys(spec: OrganizationRuntimeSpec) -> Iterator[Credential]:
    for index, key in enumerate(spec.authentication.api_keys):
        yield Credential(
            f"`spec.authentication.apiKeys[{index}].secretRef`",
            key.secret_ref,
            f"{names.API_KEYS_FOLDER}/{key.name}",
            "the API key or 'sha256:' and its digest",
        )
    for index, issuer in enumerate(spec.authentication.oidc):
        if issuer.ca_secret_ref is not None:
            yield Credential(
                f"`spec.authentication.oidc[{index}].caSecretRef`",
                issuer.ca_secret_ref,
                f"{names.OIDC_FOLDER}/{issuer.name}.pem",
                "the issuer's certificates",
            )


def _tools(spec: OrganizationRuntimeSpec) -> Iterator[Credential]:
    for index, credential in enumerate(spec.tools.credentials):
        yield Credential(
            f"`spec.tools.credentials[{index}].secretRef`",
            credential.secret_ref,
            f"{names.TOOLS_FOLDER}/{credential.name}",
            "the credential",
        )
    for index, server in enumerate(spec.tools.servers):
        if server.credentials_ref is not None:
            yield Credential(
                f"`spec.tools.servers[{index}].credentialsRef`",
                server.credentials_ref,
                f"{names.MCP_FOLDER}/{server.name}",
                "the server's token",
            )


def _telemetry(spec: OrganizationRuntimeSpec) -> Iterator[Credential]:
    tracing, sentry = spec.telemetry.tracing, spec.telemetry.sentry
    if tracing is not None and tracing.headers_ref is not None:
        yield Credential(
            "`spec.telemetry.tracing.headersRef`",
            tracing.headers_ref,
            names.TRACING_HEADERS_FILE,
            "the collector's headers",
        )
    if sentry is not None:
        yield Credential(
            "`spec.telemetry.sentry.dsnRef`",
            sentry.dsn_ref,
            names.SENTRY_DSN_FILE,
            "the DSN of the project",
        )
