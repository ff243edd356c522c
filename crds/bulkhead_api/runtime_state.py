"""What the runtime tells the operator: the answer of `GET /internal/state`.

The endpoint is on the internal port, needs `Authorization: Bearer` with the token of the Secret
`runtime-internal`, and takes `?hash=H&waitSeconds=N`: it answers as soon as the configuration with
hash H is followed (or refused), at the latest after N (at most 30) seconds.
"""

from typing import Annotated

from pydantic import Field

from bulkhead_api.schema import StatusModel


class LoadedVersion(StatusModel):
    """A package version in the runtime's memory."""

    package: str
    version: str
    checksum: str
    weight: int = 0
    agents: tuple[str, ...] = ()
    sessions: Annotated[int, Field(description="Sessions pinned to it that still exist.")] = 0


class Refusal(StatusModel):
    """A configuration or document that was not followed, and why."""

    what: str
    message: str


class PoolUsage(StatusModel):
    """What the conversation store holds."""

    used_bytes: int = 0
    sessions: int = 0


class RuntimeState(StatusModel):
    """What is loaded right now."""

    organization: str
    runtime_id: str
    runtime_version: str
    configuration_hash: str
    """Hash of the configuration that is followed; empty before the first."""
    versions: tuple[LoadedVersion, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    pool: PoolUsage = PoolUsage()
    missing_credentials: tuple[str, ...] = ()
    """Providers whose key file is not mounted or empty."""
    draining: bool = False
