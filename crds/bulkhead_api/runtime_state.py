"""What the runtime tells the operator: the answer of `GET /internal/state`.

The endpoint is on the internal port, needs `Authorization: Bearer` with the token of the Secret
`runtime-internal`, and takes `?hash=H&waitSeconds=N`: it answers as soon as the configuration with
hash H is followed (or refused) and no health check that it asks for is running, at the latest after
N (at most 30) seconds. `include=measurements` and `include=libraries` (may be repeated) add what is
not needed every time.
"""

from typing import Annotated, Final, Literal

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


LATENCY_BOUNDS: Final = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Upper bounds, in seconds, of the classes into which executions are counted by their duration."""

MAX_LIBRARIES: Final = 300


class CheckResult(StatusModel):
    """What one health check said."""

    name: str
    passed: bool
    message: str = ""


class CheckReport(StatusModel):
    """The health checks of one version, run once per `nonce` (`VersionRoute.check`)."""

    package: str
    version: str
    checksum: str
    nonce: str
    verdict: Literal["Pending", "Passed", "Failed"] = "Pending"
    message: str = ""
    results: tuple[CheckResult, ...] = ()


class Measurement(StatusModel):
    """What one version did since this process began; cost in US dollars as decimal text."""

    package: str
    version: str
    executions: int = 0
    failures: int = 0
    seconds: tuple[int, ...] = ()
    """Executions per class of `LATENCY_BOUNDS`, not cumulated; the last counts the longer ones."""
    cost: str = "0"
    tool_calls: int = 0
    tool_denials: int = 0
    crashes: Annotated[int, Field(description="Executions that ended their process.")] = 0


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
    started_at: str = ""
    """Tells one process in a pod from the next; measurements count from here."""
    python: str = ""
    checks: tuple[CheckReport, ...] = ()
    """One per version whose route has a `check`."""
    measurements: tuple[Measurement, ...] = ()
    """Only when asked for by `include=measurements`."""
    libraries: Annotated[dict[str, str], Field(default={}, max_length=MAX_LIBRARIES)]
    """Distributions of the image, name to version; only when asked for by `include=libraries`."""
